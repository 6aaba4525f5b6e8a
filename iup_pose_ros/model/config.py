"""Configuration of the network: one frozen dataclass, two presets. Sizes differ in widths and depths only."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.decoder import POOLING_HEADS
from iup_pose_ros.model.encoder import ENCODERS

INITIAL_POSES = ("identity", "solve")
KEYPOINT_ENCODER = "xfeat"
"""The encoder that comes with a matcher of keypoints; the others match on a grid."""


def _require_choice(what: str, value: str, accepted: Collection[str]) -> None:
    if value in accepted:
        return
    nearest = difflib.get_close_matches(str(value), accepted, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ConfigurationError(f"unknown {what} {value!r}; {hint}accepted: {', '.join(sorted(accepted))}")


@dataclass(frozen=True)
class IUPPoseConfig:
    """Everything that decides the network's shape and behaviour; it travels with the weights.

    Raises:
        ConfigurationError: a value is outside its range; the message lists what is accepted.
    """

    encoder: str
    """Image encoder: KEYPOINT_ENCODER, or one of ``encoder.ENCODERS``."""
    width: int
    """Channels C of the tokens and of the decoders."""
    heads: int
    """Attention heads of MHBC; divides ``width``."""
    alignment_layers: int
    """MHBC layers."""
    match_dim: int
    """Channels of the learned descriptors (stride 8) of the soft correspondence on a grid."""
    bottleneck: int
    """Inner channels of the robust bottleneck blocks."""
    head_width: int
    """Channels of the decoders' last convolution and hidden units of their heads."""
    image_area: int
    """Pixels of the network's input; images are resized to about this area."""
    tokens: int = 1536
    """Most keypoints of a view, where keypoints are matched."""
    kept_tokens: int = 512
    """Of these, most that all layers of the alignment see: those likeliest to have a match."""
    decoders: bool = True
    """Whether the decoders run outside training too; if not, the pose is what the matches agree on."""
    experts: int = 2
    """Experts of the decoders' MoE adapter."""
    prior_sigma_rotation: float = 0.3
    """Standard deviation per axis (rad) of the pose that stage 1 starts from."""
    prior_sigma_direction: float = 1.0
    """Standard deviation (rad) of the direction of translation before the translation decoder."""
    matched_rays: bool = True
    """Whether the decoders see the soft correspondence as geometry, or features alone."""
    initial_pose: str = "solve"
    """What stage 1 starts from: ``identity`` (the paper), or ``solve``, the pose the matches agree on, which
    also stands where they contradict the decoders' answer."""
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the RGB channels in [0, 1], subtracted from the input."""
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of the RGB channels in [0, 1], divided out of the input."""

    def __post_init__(self) -> None:
        _require_choice("encoder", self.encoder, (KEYPOINT_ENCODER, *ENCODERS))
        _require_choice("initial_pose", self.initial_pose, INITIAL_POSES)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and not value > 0:
                raise ConfigurationError(f"{field.name} is {value}; it must be positive")
        if not (self.decoders or self.initial_pose == "solve"):
            raise ConfigurationError("without decoders there is no pose but that of initial_pose = solve")
        if self.width % self.heads:
            raise ConfigurationError(f"width {self.width} is not a multiple of heads = {self.heads}")
        if self.head_width % POOLING_HEADS:
            raise ConfigurationError(f"head_width {self.head_width} is not a multiple of {POOLING_HEADS}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IUPPoseConfig:
        """The configuration that ``to_dict`` wrote, or a user's.

        Raises:
            ConfigurationError: unknown or missing keys, or values outside their range.
        """
        names = [field.name for field in fields(cls)]
        for key in values:
            _require_choice("key of the network's configuration", key, names)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(f"the network's configuration does not fit: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values, ready for JSON."""
        return asdict(self)


PRESETS = {
    "small": IUPPoseConfig(
        encoder=KEYPOINT_ENCODER,
        width=96,
        heads=1,
        alignment_layers=6,
        match_dim=64,
        bottleneck=64,
        head_width=256,
        image_area=640 * 480,
        decoders=False,
    ),
    "small_grid": IUPPoseConfig(
        encoder="mobilenet_v2",
        width=128,
        heads=4,
        alignment_layers=4,
        match_dim=64,
        bottleneck=64,
        head_width=256,
        image_area=320 * 240,
    ),
    "base": IUPPoseConfig(
        encoder="resnet34",
        width=320,
        heads=10,
        alignment_layers=5,
        match_dim=128,
        bottleneck=192,
        head_width=512,
        image_area=512 * 384,
    ),
}


def preset(name: str) -> IUPPoseConfig:
    """Configuration of a preset by name.

    Raises:
        ConfigurationError: there is no such preset; the message lists those there are.
    """
    _require_choice("preset", name, PRESETS)
    return PRESETS[name]

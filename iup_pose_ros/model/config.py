"""Configuration of the network and its presets."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.aliked_encoder import AlikedEncoder
from iup_pose_ros.model.decoder import POOLING_HEADS
from iup_pose_ros.model.encoder import ENCODERS
from iup_pose_ros.model.xfeat_encoder import XFeatEncoder

INITIAL_POSES = ("identity", "solve")
KEYPOINT_ENCODERS: dict[str, type[XFeatEncoder] | type[AlikedEncoder]] = {
    "xfeat": XFeatEncoder,
    "aliked": AlikedEncoder,
}
"""Encoders of the keypoint matcher; all others belong to the grid matcher."""

# Maximum sizes, so that a foreign file cannot ask for a network that fills the memory; 4096 for all others.
_MAX_SIZES = {"image_area": 4096 * 4096, "alignment_layers": 64}


def _require_choice(what: str, value: str, accepted: Collection[str]) -> None:
    if value in accepted:
        return
    nearest = difflib.get_close_matches(str(value), accepted, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ConfigurationError(f"unknown {what} {value!r}; {hint}accepted: {', '.join(sorted(accepted))}")


@dataclass(frozen=True)
class IUPPoseConfig:
    """Architecture and behaviour of the network; stored in the metadata of the weights file.

    Raises:
        ConfigurationError: a value is out of range; the message lists the accepted values.
    """

    encoder: str
    """Image encoder: one of KEYPOINT_ENCODERS, or one of ``encoder.ENCODERS``."""
    width: int
    """Number of channels C of the tokens and of the decoders."""
    heads: int
    """Number of attention heads of MHBC; divides ``width``."""
    alignment_layers: int
    """Number of MHBC layers."""
    match_dim: int
    """Number of channels of the learned descriptors (stride 8) of the grid matcher."""
    bottleneck: int
    """Number of inner channels of the robust bottleneck blocks."""
    head_width: int
    """Number of channels of the decoders' last convolution and of hidden units of their heads."""
    image_area: int
    """Number of pixels of the network input; images are resized to about this area."""
    tokens: int = 1536
    """Maximum number of keypoints of a view (keypoint matcher)."""
    kept_tokens: int = 512
    """Maximum number of keypoints after pruning: those most likely to have a match (keypoint matcher)."""
    decoders: bool = True
    """Whether the decoders run outside training; otherwise the pose is solved from the matches."""
    experts: int = 2
    """Number of experts of the decoders' MoE adapter."""
    prior_sigma_rotation: float = 0.3
    """Standard deviation per axis (rad) of the rotation that stage 1 starts from."""
    prior_sigma_direction: float = 1.0
    """Standard deviation (rad) of the direction of translation before the translation decoder."""
    matched_rays: bool = True
    """Whether the geometry channels of the decoders include the matched rays."""
    initial_pose: str = "solve"
    """Initial pose of stage 1: ``identity`` (as in the paper), or ``solve``: solved from the matches. The
    latter also replaces the decoders' output where the matches contradict it."""
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the RGB channels in [0, 1], subtracted from the input."""
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of the RGB channels in [0, 1], divided out of the input."""

    def __post_init__(self) -> None:
        _require_choice("encoder", self.encoder, (*KEYPOINT_ENCODERS, *ENCODERS))
        _require_choice("initial_pose", self.initial_pose, INITIAL_POSES)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type not in ("int", "float"):
                continue
            if isinstance(value, bool) or not isinstance(value, int if field.type == "int" else (int, float)):
                raise ConfigurationError(f"{field.name} is {value!r}; type {field.type} is required")
            maximum = _MAX_SIZES.get(field.name, 4096)
            if not 0 < value <= maximum:
                raise ConfigurationError(
                    f"{field.name} is {value}; it must be positive and at most {maximum}"
                )
        if not (self.decoders or self.initial_pose == "solve"):
            raise ConfigurationError("decoders: false requires initial_pose: solve")
        if self.width % self.heads:
            raise ConfigurationError(f"width {self.width} is not a multiple of heads = {self.heads}")
        if self.head_width % POOLING_HEADS:
            raise ConfigurationError(f"head_width {self.head_width} is not a multiple of {POOLING_HEADS}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IUPPoseConfig:
        """Create a configuration from plain values, such as those of ``to_dict``.

        Raises:
            ConfigurationError: unknown or missing keys, or values outside their range.
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"invalid network configuration: {values!r} has no keys")
        names = [field.name for field in fields(cls)]
        for key in values:
            _require_choice("key of the network configuration", key, names)
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(f"invalid network configuration: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values that JSON can represent."""
        return asdict(self)


_SMALL = IUPPoseConfig(
    encoder="xfeat",
    width=96,
    heads=1,
    alignment_layers=6,
    match_dim=64,
    bottleneck=64,
    head_width=256,
    image_area=800 * 600,
    decoders=False,
)
PRESETS = {
    "small": _SMALL,
    "medium": replace(_SMALL, encoder="aliked", width=256, heads=4, alignment_layers=7),
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
    """Return the configuration of a preset.

    Raises:
        ConfigurationError: the preset is unknown; the message lists the known ones.
    """
    _require_choice("preset", name, PRESETS)
    return PRESETS[name]

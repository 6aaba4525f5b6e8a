"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.config import KEYPOINT_ENCODERS, IUPPoseConfig, preset
from iup_pose_ros.model.iup_pose import INPUT_MULTIPLE
from iup_pose_ros.training.configuration import from_mapping
from iup_pose_ros.training.data.data_sets import DataSetConfig
from iup_pose_ros.training.data.scene_pairs import ScenePairsConfig
from iup_pose_ros.training.losses import LossWeights
from iup_pose_ros.training.synthetic.rendered_stream import SourceConfig

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class NetworkConfig:
    """Network to train and its initial weights.

    Attributes:
        preset: name of a preset of ``model.config``.
        image_area: number of pixels of the network input for inference; None: that of the first size.
        tokens: maximum number of keypoints of a view in training; None: as for inference.
        initial_pose: initial pose of stage 1; None: that of the preset.
        encoder_weights: ImageNet weights of the encoder (``training.imagenet``).
        weights: weights file of an earlier run, for example one at a lower resolution.
        fresh: modules that are not loaded from ``weights``, for example ``translation_decoder``.
        frozen: modules that are not trained, for example ``matcher.encoder``.
        fixed_statistics: whether to freeze the batch normalisation statistics of the encoder. Recommended
            for a trained encoder, because views of one cluster are too similar for batch statistics.
    """

    preset: str = "small_grid"
    image_area: int | None = None
    tokens: int | None = None
    initial_pose: str | None = None
    encoder_weights: Path | None = None
    weights: Path | None = None
    fresh: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    fixed_statistics: bool = False

    def model_config(self, size: tuple[int, int]) -> IUPPoseConfig:
        """Return the network configuration for training on images of a size (width, height)."""
        base = preset(self.preset)
        return replace(
            base,
            image_area=self.image_area or size[0] * size[1],
            initial_pose=self.initial_pose or base.initial_pose,
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, learning rate schedule and weight of the likelihood.

    Attributes:
        learning_rate: maximum learning rate, reached after ``warm_up`` steps.
        final: final learning rate, relative to the maximum.
        warm_up: number of steps of rising learning rate.
        plain: number of steps on angles only, before the likelihood is used.
        blend: number of steps over which the weight of the likelihood rises to 1.
        weight_decay: weight decay of matrices and kernels.
        clip: maximum norm of the gradient.
        average: decay per step of the moving average of the weights (EMA).
    """

    learning_rate: float = 5e-4
    final: float = 0.01
    warm_up: int = 500
    plain: int = 1000
    blend: int = 2000
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0.0 and self.clip > 0.0 and 0.0 <= self.average < 1.0):
            raise ConfigurationError(
                f"learning_rate {self.learning_rate} and clip {self.clip} must be positive, "
                f"average {self.average} at least 0 and below 1"
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on real pairs during training.

    Attributes:
        folders: sets (with a ``pairs.csv``) and folders of sets; the split of a set is the name of its parent
            folder. Empty: no evaluation.
        every: number of steps between evaluations; the first one is before the first step.
        max_pairs: maximum number of pairs per set.
        patience: number of evaluations without improvement after which the run ends; None: no early stopping.
    """

    folders: tuple[Path, ...] = ()
    every: int = 5000
    max_pairs: int = 40
    patience: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths are relative to the working directory.

    Attributes:
        output: folder of checkpoints, weights and logs.
        training_data: description of the training data, stored in the weights file.
        steps: number of optimizer steps.
        pairs: maximum number of pairs per cluster of a batch; None: all.
        workers: number of data loading processes per training process; 0: load in the training process.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32-true`` or ``bf16-mixed``.
        checkpoint_every: maximum number of steps between checkpoints.
        checkpoint_minutes: maximum time between checkpoints, minutes.
        keep: number of checkpoints to keep.
        tensorboard: whether to write TensorBoard logs, if installed.
        seed: seed of initial weights and selection of pairs; ``source.seed`` is that of the images.
        micro_batches: number of batches per optimizer step and training process (gradient accumulation).
        data_sets: additional data sets.
        photographs: additional pairs of photographs with sparse true matches.
        rendered: share of rendered batches, relative to the shares of data sets and photographs.
        network: network and initial weights.
        optimizer: optimizer and schedules.
        loss: weights of the loss.
        source: rendered pairs.
        evaluation: evaluation during training.
    """

    output: Path
    training_data: str
    steps: int = 100_000
    pairs: int | None = 16
    workers: int = 2
    device: str = "auto"
    precision: str = "32-true"
    checkpoint_every: int = 500
    checkpoint_minutes: float = 10.0
    keep: int = 2
    tensorboard: bool = True
    seed: int = 0
    micro_batches: int = 1
    data_sets: tuple[DataSetConfig, ...] = ()
    photographs: ScenePairsConfig | None = None
    rendered: float = 1.0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    source: SourceConfig = field(default_factory=SourceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        minimum = {"steps": 1, "workers": 0, "checkpoint_every": 1, "keep": 1, "micro_batches": 1}
        values = {
            **{name: getattr(self, name) for name in minimum},
            "evaluation.every": self.evaluation.every,
        }
        for name, value in values.items():
            if value < minimum.get(name, 1):
                raise ConfigurationError(f"{name} is {value}; the minimum is {minimum.get(name, 1)}")
        sizes = (*self.source.sizes, *(self.photographs.sizes if self.photographs else ()))
        for width, height in sizes:
            if width % INPUT_MULTIPLE or height % INPUT_MULTIPLE:
                raise ConfigurationError(
                    f"size {width}x{height} in sizes; multiples of {INPUT_MULTIPLE} are required"
                )
        encoder = preset(self.network.preset).encoder
        has_descriptors = encoder not in KEYPOINT_ENCODERS or KEYPOINT_ENCODERS[encoder].describes_any_point
        if self.photographs is not None and not has_descriptors:
            raise ConfigurationError(
                f"photographs cannot train preset {self.network.preset!r}: encoder {encoder} has no "
                "descriptors at the points of sparse matches; rendered pairs can"
            )
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"precision is {self.precision!r}; accepted: {', '.join(map(repr, PRECISIONS))}"
            )


def read_config(path: Path) -> TrainConfig:
    """Read the settings from a YAML file.

    Raises:
        ConfigurationError: the file cannot be read, or a setting is unknown, missing or out of range.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} is no mapping of settings")
    missing = [name for name in ("output", "training_data") if name not in settings]
    if missing:
        raise ConfigurationError(f"setting {missing[0]} is missing in {path}")
    return from_mapping(TrainConfig, settings)

"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.model.config import IUPPoseConfig, preset
from iup_pose_ros.model.iup_pose import INPUT_MULTIPLE
from iup_pose_ros.training.configuration import from_mapping
from iup_pose_ros.training.data.data_sets import DataSetConfig
from iup_pose_ros.training.data.scene_pairs import ScenePairsConfig
from iup_pose_ros.training.losses import LossWeights
from iup_pose_ros.training.synthetic.rendered_stream import SourceConfig

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class NetworkConfig:
    """The network to train, and what its weights start from.

    Attributes:
        preset: ``small_grid`` or ``base``.
        image_area: pixels of the network's input in use; None: that of the first size trained on.
        tokens: keypoints of a view in training; None: as many as in use.
        initial_pose: what stage 1 starts from; None: as the preset.
        encoder_weights: ImageNet weights of the encoder (training.imagenet).
        weights: weights file of an earlier run, for example one at a lower resolution.
        fresh: modules that begin anew all the same, for example ``translation_decoder``.
        frozen: modules that stay as they are, for example ``matcher.encoder``.
        fixed_statistics: whether the encoder's batch normalisation keeps the statistics it has. Right for a
            trained encoder: views of one cluster are too alike for statistics of a batch.
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
        """Configuration of the network that is trained on images of a size (width, height)."""
        base = preset(self.preset)
        return replace(
            base,
            image_area=self.image_area or size[0] * size[1],
            initial_pose=self.initial_pose or base.initial_pose,
        )


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW, its learning rate, and the course of the loss.

    Attributes:
        learning_rate: the highest, reached after ``warm_up`` steps.
        final: learning rate at the end, as a share of the highest.
        plain: steps on plain errors before the likelihood's share grows.
        blend: steps over which it grows to 1.
        clip: largest norm of the gradient.
        average: decay of the averaged weights (EMA) per step.
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
                f"average {self.average} from 0 to below 1"
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on real pairs during training.

    Attributes:
        folders: sets (with a ``pairs.csv``) and folders of sets; a set's split is named by the folder it is
            in. None: no evaluation.
        every: steps between evaluations; one comes before the first step.
        max_pairs: most pairs of every set.
        patience: evaluations in a row that gain nothing after which the run ends; None: it goes on.
    """

    folders: tuple[Path, ...] = ()
    every: int = 5000
    max_pairs: int = 40
    patience: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths count from the working directory.

    Attributes:
        output: folder of the run: checkpoints, weights, logs.
        training_data: statement of what the weights are trained on; it travels with them.
        steps: of the optimiser.
        pairs: most pairs of one cluster of a batch; None: all.
        workers: processes that render, for every training process; 0: render in between.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32-true`` or ``bf16-mixed``.
        checkpoint_every: most steps between checkpoints.
        checkpoint_minutes: most minutes between checkpoints.
        keep: checkpoints kept.
        tensorboard: whether to log for TensorBoard too.
        seed: of the network's weights and of the pairs drawn; ``source.seed`` is that of the images.
        micro_batches: batches whose gradients one step of the optimiser sums up, for each training process.
        data_sets: trained on beside rendered pairs.
        photographs: pairs of photographs with sparse true matches, trained on beside rendered pairs.
        rendered: share of batches that are rendered, against those of the data sets and photographs.
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
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    source: SourceConfig = field(default_factory=SourceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        least = {"steps": 1, "workers": 0, "checkpoint_every": 1, "keep": 1, "micro_batches": 1}
        values = {**{name: getattr(self, name) for name in least}, "evaluation.every": self.evaluation.every}
        for name, value in values.items():
            if value < least.get(name, 1):
                raise ConfigurationError(f"{name} is {value}; at least {least.get(name, 1)} is needed")
        sizes = (*self.source.sizes, *(self.photographs.sizes if self.photographs else ()))
        for width, height in sizes:
            if width % INPUT_MULTIPLE or height % INPUT_MULTIPLE:
                raise ConfigurationError(
                    f"sizes have {width}x{height}; the network takes multiples of {INPUT_MULTIPLE}"
                )
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"precision is {self.precision!r}; accepted: {', '.join(map(repr, PRECISIONS))}"
            )


def read_config(path: Path) -> TrainConfig:
    """The settings of a YAML file.

    Raises:
        ConfigurationError: the file cannot be read, or a setting does not exist, is missing or out of range.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path} holds no settings by name")
    missing = [name for name in ("output", "training_data") if name not in settings]
    if missing:
        raise ConfigurationError(f"{path} lacks the setting {missing[0]}")
    return from_mapping(TrainConfig, settings)

"""An estimator that the node makes anew, smaller or on the CPU, when memory runs out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame, Matches, RelativePose
from iup_pose_ros.weights import SHIPPED_WEIGHTS

CreateEstimator = Callable[[str, NetworkOptions], RelativePoseEstimator]

_SMALLEST_AREA = 64 * 64
# Where an estimator does not tell the size of its input.
_USUAL_AREA = 320 * 240
_MEGABYTE = 1024.0 * 1024.0


@dataclass(frozen=True)
class EstimatorFigures:
    """What an estimator is, for people.

    Attributes:
        name: of the estimator.
        device: where it computes.
        precision: of the network's arithmetic, empty without a network.
        image_area: pixels of the network's input, 0 without a network.
        weights: file name of the network's weights, empty without a network.
        sha256: their digest, hexadecimal.
    """

    name: str
    device: str = "cpu"
    precision: str = ""
    image_area: int = 0
    weights: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        if not self.weights:
            return f"{self.name} on {self.device}"
        return (
            f"{self.name} on {self.device} in {self.precision}, {self.image_area} pixels, "
            f"weights {self.weights} (sha256 {self.sha256[:12]})"
        )


class ResilientEstimator:
    """Wraps the estimator that ``create`` makes; called by one thread at a time.

    Args:
        name: of the estimator.
        options: of its network.
        on_out_of_memory: ``lower_resolution`` or ``cpu``.
        create: makes it.

    Raises:
        IupPoseError: what ``create`` refuses.
        ConfigurationError: there is not enough memory.
    """

    def __init__(
        self, name: str, options: NetworkOptions, on_out_of_memory: str, create: CreateEstimator
    ) -> None:
        self._name = name
        self._options = options
        self._on_out_of_memory = on_out_of_memory
        self._create = create
        self._inner: RelativePoseEstimator | None = None
        if not self._build(options):
            raise ConfigurationError(
                f"estimator {name} runs out of memory on device {options.device}: choose another device, a "
                "smaller image_area or another estimator"
            )

    @property
    def name(self) -> str:
        """See RelativePoseEstimator.name."""
        return self._name

    @property
    def figures(self) -> EstimatorFigures:
        """What is in use now."""
        info = self._weights_info()
        if info is None:
            return EstimatorFigures(self._name, str(getattr(self._network(), "device", "cpu")))
        return EstimatorFigures(
            self._name,
            self._device(),
            self._options.precision,
            self._image_area(),
            (self._options.weights or SHIPPED_WEIGHTS).name,
            info.sha256,
        )

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """See RelativePoseEstimator.estimate.

        Raises:
            EstimationError: there is no pose; also where memory ran out, and then the next call has a smaller
                or slower network, if there is one.
        """
        if self._inner is None and not self._build(self._options):
            raise EstimationError(f"{self._name} is out of memory on {self._options.device}")
        assert self._inner is not None  # _build has made it
        try:
            return self._inner.estimate(previous, current, matches)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # As in _build, not in the handler.
        raise EstimationError(self._give_way())

    @property
    def device_megabytes(self) -> float:
        """Memory of the accelerator that tensors of this process hold; ``nan`` without one."""
        torch: Any = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return float("nan")
        return float(torch.cuda.memory_allocated()) / _MEGABYTE

    def close(self) -> None:
        """Frees the network's memory."""
        self._inner = None
        gc.collect()
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _give_way(self) -> str:
        """Goes on with less; says what happened."""
        happened = f"{self._name} is out of memory on {self._device()} with {self._image_area()} pixels"
        while (options := self._smaller()) is not None:
            self._options = options
            if self._build(options):
                return f"{happened}; going on with {self._image_area()} pixels on {self._device()}"
        self.close()
        return f"{happened}, and on_out_of_memory: {self._on_out_of_memory} leaves nothing smaller to try"

    def _smaller(self) -> NetworkOptions | None:
        """Options that need less memory than those in use; None where there are none."""
        if self._on_out_of_memory == "cpu":
            if self._device() == "cpu":
                return None
            precision = self._options.precision
            return replace(
                self._options, device="cpu", precision="float32" if precision == "float16" else precision
            )
        area = self._image_area() // 2
        return replace(self._options, image_area=area) if area >= _SMALLEST_AREA else None

    def _network(self) -> Any:
        """The network's estimator: the one in use, or the one inside it."""
        return getattr(self._inner, "network", self._inner)

    def _weights_info(self) -> Any:
        """What the weights file says of itself (CheckpointInfo); None without a network."""
        return getattr(self._network(), "weights", None)

    def _device(self) -> str:
        return str(getattr(self._network(), "device", self._options.device))

    def _image_area(self) -> int:
        if self._options.image_area is not None:
            return self._options.image_area
        config = getattr(getattr(self._network(), "model", None), "config", None)
        return int(getattr(config, "image_area", _USUAL_AREA))

    def _build(self, options: NetworkOptions) -> bool:
        """Makes the estimator, and uses its network once; False where the memory does not suffice."""
        if self._inner is not None:
            self.close()
        try:
            self._inner = self._create(self._name, options)
            if self._weights_info() is not None:
                _warm_up(self._network())
            return True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Not in the handler: its traceback still holds the network's tensors.
        self.close()
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an accelerator's memory is exhausted."""
    # A module that was never imported cannot have raised it.
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _warm_up(estimator: RelativePoseEstimator) -> None:
    """A network's first pair costs more than others; here it delays no image."""
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    intrinsics = Intrinsics(300.0, 300.0, 159.5, 119.5, 320, 240)
    first = Frame(image, intrinsics, 0.0, "warm_up")
    second = Frame(np.roll(image, 4, axis=1), intrinsics, 0.1, "warm_up")
    try:
        estimator.estimate(first, second)
    except EstimationError:
        # Noise need not have a pose.
        return

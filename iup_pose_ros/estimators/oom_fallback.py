"""An estimator that is rebuilt with a smaller image or on the CPU when the accelerator's memory runs out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo, RelativePoseEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame, Matches, RelativePose

CreateEstimator = Callable[[str, NetworkOptions], RelativePoseEstimator]

_MINIMUM_AREA = 64 * 64
_MEGABYTE = 1024.0 * 1024.0


class OutOfMemoryFallback:
    """Wraps the estimator that ``create`` makes; called by one thread at a time.

    Args:
        name: name of the estimator.
        options: how its network runs at first.
        on_out_of_memory: ``lower_resolution`` halves the pixels of the network's input, ``cpu`` moves it
            to the CPU.
        create: makes the estimator of a name with options.

    Raises:
        ConfigurationError: already at the start there is not enough memory.
    """

    def __init__(
        self, name: str, options: NetworkOptions, on_out_of_memory: str, create: CreateEstimator
    ) -> None:
        self.name = name
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
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        return EstimatorInfo(self.name, self._options.device) if self._inner is None else self._inner.info

    @property
    def device_megabytes(self) -> float:
        """Memory of the accelerator that tensors of this process hold; ``nan`` without one."""
        torch: Any = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return float("nan")
        return float(torch.cuda.memory_allocated()) / _MEGABYTE

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """See RelativePoseEstimator.estimate.

        Raises:
            EstimationError: there is no pose; also where memory ran out, and then the next call has a smaller
                or slower network, if there is one.
        """
        if self._inner is None and not self._build(self._options):
            raise EstimationError(f"{self.name} is out of memory on {self._options.device}")
        assert self._inner is not None  # _build has made it
        try:
            return self._inner.estimate(previous, current, matches)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # As in _build, not in the handler.
        raise EstimationError(self._degrade())

    def close(self) -> None:
        """Free the network's memory."""
        self._inner = None
        gc.collect()
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _degrade(self) -> str:
        """Build the next smaller estimator that fits into memory; return what happened, for a message."""
        info = self.info
        happened = f"{self.name} is out of memory on {info.device} with {info.image_area} pixels"
        while (options := self._smaller(info)) is not None:
            self._options = options
            if self._build(options):
                info = self.info
                return f"{happened}; going on with {info.image_area} pixels on {info.device}"
            info = replace(info, device=options.device, image_area=options.image_area or info.image_area)
        self.close()
        return f"{happened}, and on_out_of_memory: {self._on_out_of_memory} leaves nothing smaller to try"

    def _smaller(self, info: EstimatorInfo) -> NetworkOptions | None:
        """Return options that need less memory than the estimator of ``info``; None where there are none."""
        if self._on_out_of_memory == "cpu":
            if info.device == "cpu":
                return None
            precision = "float32" if self._options.precision == "float16" else self._options.precision
            return replace(self._options, device="cpu", precision=precision)
        area = info.image_area // 2
        return replace(self._options, image_area=area) if area >= _MINIMUM_AREA else None

    def _build(self, options: NetworkOptions) -> bool:
        """Make the estimator, and use its network once; return False where the memory does not suffice."""
        if self._inner is not None:
            self.close()
        try:
            self._inner = self._create(self.name, options)
            if self._inner.info.weights:
                _warm_up(self._inner)
            return True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Not in the handler: its traceback still holds the network's tensors.
        self.close()
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that an accelerator's memory is exhausted."""
    # A module that was never imported cannot have raised it.
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _warm_up(estimator: RelativePoseEstimator) -> None:
    """Estimate one pair: a network's first costs more than others; here it delays no image.

    The two images are unrelated noise, which no tracks connect: an estimator that asks its network only in
    doubt asks it here.
    """
    random = np.random.default_rng(0)
    intrinsics = Intrinsics(300.0, 300.0, 159.5, 119.5, 320, 240)
    previous, current = (
        Frame(random.integers(0, 256, (240, 320, 3), dtype=np.uint8), intrinsics, stamp, "warm_up")
        for stamp in (0.0, 0.1)
    )
    try:
        estimator.estimate(previous, current)
    except EstimationError:
        # Noise need not have a pose.
        return

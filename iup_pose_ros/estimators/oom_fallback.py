"""Estimator wrapper that reduces the input size or moves to the CPU when GPU memory is exhausted."""

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
    """Wrapper of an estimator with fallback when GPU memory is exhausted. Not thread-safe.

    Args:
        name: name of the estimator.
        options: initial options of the network.
        on_out_of_memory: ``lower_resolution`` halves the number of pixels of the network input, ``cpu`` moves
            the network to the CPU.
        create: creates an estimator, given its name and options.

    Raises:
        ConfigurationError: there is not enough memory for the initial options.
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
                f"estimator {name} is out of memory on device {options.device}: use another device, a "
                "smaller image_area or another estimator"
            )

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        inner = self._inner  # which another thread may remove meanwhile
        return EstimatorInfo(self.name, self._options.device) if inner is None else inner.info

    @property
    def device_megabytes(self) -> float:
        """GPU memory allocated by tensors of this process, megabytes; ``nan`` without CUDA."""
        torch: Any = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return float("nan")
        return float(torch.cuda.memory_allocated()) / _MEGABYTE

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """See RelativePoseEstimator.estimate.

        Raises:
            EstimationError: the pose could not be estimated, or memory was exhausted. In the latter case the
                next call uses a smaller or slower network, if possible.
        """
        if self._inner is None and not self._build(self._options):
            raise EstimationError(f"{self.name} is out of memory on {self._options.device}")
        assert self._inner is not None  # set by _build
        try:
            return self._inner.estimate(previous, current, matches)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, see _build.
        raise EstimationError(self._degrade())

    def close(self) -> None:
        """Free the network's memory."""
        self._inner = None
        gc.collect()
        torch: Any = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _degrade(self) -> str:
        """Build the next smaller estimator that fits into memory; return a message about it."""
        info = self.info
        message = f"{self.name} is out of memory on {info.device} with {info.image_area} pixels"
        while (options := self._smaller(info)) is not None:
            self._options = options
            if self._build(options):
                info = self.info
                return f"{message}; continuing with {info.image_area} pixels on {info.device}"
            info = replace(info, device=options.device, image_area=options.image_area or info.image_area)
        self.close()
        return f"{message}; on_out_of_memory: {self._on_out_of_memory} offers no smaller configuration"

    def _smaller(self, info: EstimatorInfo) -> NetworkOptions | None:
        """Return options with less memory use than the estimator of ``info``; None if there are none."""
        if self._on_out_of_memory == "cpu":
            if info.device == "cpu":
                return None
            precision = "float32" if self._options.precision == "float32" else "auto"
            return replace(self._options, device="cpu", precision=precision)
        area = info.image_area // 2
        return replace(self._options, image_area=area) if area >= _MINIMUM_AREA else None

    def _build(self, options: NetworkOptions) -> bool:
        """Create the estimator and run its network once; return False if memory is exhausted."""
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
        # Outside the handler, because its traceback holds references to the network's tensors.
        self.close()
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is torch's error for exhausted GPU memory."""
    # If torch was not imported, it cannot have raised the error.
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _warm_up(estimator: RelativePoseEstimator) -> None:
    """Estimate one pair, because the first inference is slow and would delay an image.

    The images are independent noise without tracks, so that ``hybrid`` runs its network, too.
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
        # Noise has no pose.
        return

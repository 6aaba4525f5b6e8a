"""Grey levels of more than 8 bits as 8 bits, with one mapping for all images of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Levels are looked at in every so-manieth row and column, as percentiles of all pixels would take too long.
_STRIDE = 4
_PERCENTILES = (0.5, 99.5)
# Share of the percentiles' distance that the range has to spare on either side.
_MARGIN = 0.1
# Share of the way to an image's own range that the stream's range goes with it; all of it where so large a
# share of the image lies outside, as after a change from night to day.
_RATE = 0.05
_CUT = 0.25
# An integer level is never stretched over more than one of the 256 (an image that shows less is noise); of
# floating-point levels the range is at least this share of their size.
_NARROWEST = 255.0
_NARROWEST_SHARE = 0.01


class LevelMapping:
    """Linear mapping of levels to 0 to 255 that changes slowly, so that brightness stays from image to image.

    Args:
        fixed: the levels that become 0 and 255; None: follows robust percentiles of the images.
    """

    def __init__(self, fixed: tuple[float, float] | None = None) -> None:
        self._fixed = fixed
        self._range: tuple[float, float] | None = fixed

    def __call__(self, levels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the levels, of any shape, as uint8; levels that are no number become 0."""
        if self._fixed is None:
            self._follow(levels)
        low, high = self._range or (0.0, 1.0)
        scaled = (levels.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
        return np.nan_to_num(np.rint(scaled), nan=0.0).clip(0.0, 255.0).astype(np.uint8)

    def _follow(self, levels: NDArray[Any]) -> None:
        sample = levels[::_STRIDE, ::_STRIDE]
        sample = sample[np.isfinite(sample)]
        if sample.size == 0:
            return
        target = _robust_range(sample)
        if self._range is None:
            self._range = target
            return
        low, high = self._range
        is_cut = float(np.mean((sample < low) | (sample > high))) > _CUT
        rate = 1.0 if is_cut else _RATE
        self._range = (low + rate * (target[0] - low), high + rate * (target[1] - high))


def _robust_range(sample: NDArray[Any]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    is_float = np.issubdtype(sample.dtype, np.floating)
    narrowest = _NARROWEST_SHARE * max(abs(low), abs(high), 1e-6) if is_float else _NARROWEST
    widening = max(0.0, narrowest - (high - low)) / 2.0
    return low - widening, high + widening

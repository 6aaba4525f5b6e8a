"""Mapping of grey levels of more than 8 bits to 8 bits, shared by all images of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Percentiles are computed from every fourth row and column, to save time.
_STRIDE = 4
_PERCENTILES = (0.5, 99.5)
# Margin of the range on either side, as a share of the distance between the percentiles.
_MARGIN = 0.1
# Smoothing factor of the range per image; if a larger share of the image than _CUT is outside the range, for
# example after a sudden change of the light, the range is replaced.
_RATE = 0.05
_CUT = 0.25
# Minimum range of integer levels (no contrast beyond 8 bits is created, it would be noise), and of
# floating-point levels as a share of their magnitude.
_MIN_RANGE = 255.0
_MIN_RANGE_SHARE = 0.01


class LevelMapping:
    """Linear mapping of levels to 0 to 255 that changes slowly, for constant brightness between images.

    Args:
        fixed: the levels that are mapped to 0 and 255; None: smoothed percentiles of the images.
    """

    def __init__(self, fixed: tuple[float, float] | None = None) -> None:
        self._fixed = fixed
        self._range: tuple[float, float] | None = fixed

    def __call__(self, levels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the levels, of any shape, as uint8; NaN becomes 0."""
        if self._fixed is None:
            self._follow(levels)
        low, high = self._range or (0.0, 1.0)
        scaled = levels.astype(np.float32)  # changed in place from here on: large images are few copies
        scaled -= np.float32(low)
        scaled *= np.float32(255.0 / (high - low))
        np.rint(scaled, out=scaled)
        np.nan_to_num(scaled, copy=False, nan=0.0)
        return np.clip(scaled, 0.0, 255.0, out=scaled).astype(np.uint8)

    def _follow(self, levels: NDArray[Any]) -> None:
        """Move the range towards that of an image."""
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
    """Return the percentiles with margin, widened to the minimum range."""
    low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    is_float = np.issubdtype(sample.dtype, np.floating)
    minimum = _MIN_RANGE_SHARE * max(abs(low), abs(high), 1e-6) if is_float else _MIN_RANGE
    widening = max(0.0, minimum - (high - low)) / 2.0
    return low - widening, high + widening

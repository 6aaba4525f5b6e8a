"""Detection of irregular intervals between image stamps."""

from __future__ import annotations

from collections import deque

import numpy as np

# Maximum number of intervals that are kept, and minimum number for a warning.
_MAX_INTERVALS = 60
_MIN_INTERVALS = 20
# Maximum deviation from a multiple of the median interval (missing images cause multiples), relative to it.
_TOLERANCE = 0.3
_MAX_IRREGULAR_SHARE = 0.2


class StampIntervals:
    """Intervals between the stamps of the last images."""

    def __init__(self) -> None:
        self._intervals: deque[int] = deque(maxlen=_MAX_INTERVALS)
        self._last: int | None = None

    def add(self, stamp: int) -> None:
        """Add the stamp of the next image, nanoseconds; one that does not increase clears the intervals."""
        if self._last is not None and stamp > self._last:
            self._intervals.append(stamp - self._last)
        elif self._last is not None:
            self._intervals.clear()
        self._last = stamp

    @property
    def warning(self) -> str:
        """Warning about irregular stamps, one sentence; empty if they are regular."""
        intervals = np.array(self._intervals, dtype=np.float64) * 1e-9
        if len(intervals) < _MIN_INTERVALS:
            return ""
        median = float(np.median(intervals))
        multiples = np.maximum(np.rint(intervals / median), 1.0)
        irregular = float(np.mean(np.abs(intervals / median - multiples) > _TOLERANCE))
        if irregular <= _MAX_IRREGULAR_SHARE:
            return ""
        low, high = 1e3 * np.percentile(intervals, (5, 95))
        return (
            f"image stamps are irregular, {low:.0f} to {high:.0f} ms apart, median {1e3 * median:.0f} ms: "
            "velocities become inaccurate; stamp the time of exposure, not of arrival"
        )

"""Whether the stamps of images come in even intervals."""

from __future__ import annotations

from collections import deque

import numpy as np

# So many intervals are looked at, and at least so many are needed.
_MOST = 60
_FEWEST = 20
# An interval is even within this share of the usual one; images left out make whole multiples of it.
_TOLERANCE = 0.3
_UNEVEN_SHARE = 0.2


class StampIntervals:
    """Intervals between the stamps of the last images."""

    def __init__(self) -> None:
        self._intervals: deque[int] = deque(maxlen=_MOST)
        self._last: int | None = None

    def add(self, stamp: int) -> None:
        """Take the stamp of the next image, nanoseconds; one that does not increase begins anew."""
        if self._last is not None and stamp > self._last:
            self._intervals.append(stamp - self._last)
        elif self._last is not None:
            self._intervals.clear()
        self._last = stamp

    @property
    def warning(self) -> str:
        """How uneven the stamps are, one sentence; empty while they are even."""
        intervals = np.array(self._intervals, dtype=np.float64) * 1e-9
        if len(intervals) < _FEWEST:
            return ""
        usual = float(np.median(intervals))
        multiples = np.maximum(np.rint(intervals / usual), 1.0)
        uneven = float(np.mean(np.abs(intervals / usual - multiples) > _TOLERANCE))
        if uneven <= _UNEVEN_SHARE:
            return ""
        low, high = 1e3 * np.percentile(intervals, (5, 95))
        return (
            f"stamps of images are uneven, {low:.0f} to {high:.0f} ms apart around {1e3 * usual:.0f} ms: "
            "velocities suffer; the stamp should be the time of exposure, not of arrival"
        )

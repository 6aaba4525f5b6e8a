"""ROS stamps in nanoseconds and seconds, and detection of irregular intervals; without ROS.

A stamp is any object with the fields of builtin_interfaces/Time, of rclpy or of rosbags.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

NANOSECONDS = 1_000_000_000
CLOCK_JUMP = 1.0
"""Seconds by which the stamp of an image is older than the last one if the clock was set back."""

# Maximum number of intervals that are kept, and minimum number for a warning.
_MAX_INTERVALS = 60
_MIN_INTERVALS = 20
# Maximum deviation from a multiple of the median interval (missing images cause multiples, to this number),
# relative to it.
_TOLERANCE, _MAX_MULTIPLE = 0.3, 5.0
_MAX_IRREGULAR_SHARE = 0.2


def nanoseconds(stamp: Any) -> int:
    """Return the nanoseconds since the epoch of a builtin_interfaces/Time."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def epoch_seconds(stamp: Any) -> float:
    """Return the seconds since the epoch of a builtin_interfaces/Time, rounded to a float (240 ns today)."""
    return nanoseconds(stamp) * 1e-9


def decimal_seconds(stamp: int) -> str:
    """Return a stamp in nanoseconds as a decimal number of seconds with all nine digits."""
    seconds, rest = divmod(stamp, NANOSECONDS)
    return f"{seconds}.{rest:09d}"


class StampClock:
    """Conversion between stamps and seconds since the first stamp.

    A float of seconds since 1970 resolves 240 ns; counted from the first image it resolves nanoseconds for
    more than a week, so that the stamps of the odometry convert back exactly.
    """

    def __init__(self) -> None:
        self._origin: int | None = None

    def seconds(self, stamp: Any) -> float:
        """Return the seconds of a builtin_interfaces/Time; negative before the first one."""
        if self._origin is None:
            self._origin = nanoseconds(stamp)
        return (nanoseconds(stamp) - self._origin) / NANOSECONDS

    def nanoseconds(self, seconds: float) -> int:
        """Return the nanoseconds since the epoch; the inverse of ``seconds``."""
        return (self._origin or 0) + round(seconds * NANOSECONDS)


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
        multiples = np.clip(np.rint(intervals / median), 1.0, _MAX_MULTIPLE)
        irregular = float(np.mean(np.abs(intervals / median - multiples) > _TOLERANCE))
        if irregular <= _MAX_IRREGULAR_SHARE:
            return ""
        low, high = 1e3 * np.percentile(intervals, (5, 95))
        return (
            f"image stamps are irregular, {low:.0f} to {high:.0f} ms apart, median {1e3 * median:.0f} ms: "
            "velocities become inaccurate; stamp the time of exposure, not of arrival"
        )

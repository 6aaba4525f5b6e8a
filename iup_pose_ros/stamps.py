"""Conversion of ROS stamps to nanoseconds and seconds; without ROS.

A stamp is any object with the fields of builtin_interfaces/Time, of rclpy or of rosbags.
"""

from __future__ import annotations

from typing import Any

NANOSECONDS = 1_000_000_000


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

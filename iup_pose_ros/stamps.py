"""ROS stamps as nanoseconds and as seconds, without ROS.

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
    """Seconds since the first stamp it is asked about.

    A float of seconds since 1970 resolves 240 ns; counted from the first image it tells nanoseconds apart for
    more than a week, so that stamps come back from the odometry exactly as they went in.
    """

    def __init__(self) -> None:
        self._origin: int | None = None

    def seconds(self, stamp: Any) -> float:
        """Return the seconds of a builtin_interfaces/Time; negative before the first one."""
        if self._origin is None:
            self._origin = nanoseconds(stamp)
        return (nanoseconds(stamp) - self._origin) / NANOSECONDS

    def nanoseconds(self, seconds: float) -> int:
        """Return the nanoseconds since the epoch of the stamp whose ``seconds`` these are."""
        return (self._origin or 0) + round(seconds * NANOSECONDS)

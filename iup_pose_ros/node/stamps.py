"""Stamps of ROS as seconds, without losing a nanosecond."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time

NANOSECONDS = 1_000_000_000


def nanoseconds(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time since its epoch."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


class StampClock:
    """Seconds since the first stamp it is asked about.

    A float of seconds since 1970 resolves 240 ns; counted from the first image it tells nanoseconds apart for
    more than a week, so that stamps come back from the odometry exactly as they went in.
    """

    def __init__(self) -> None:
        self._origin: int | None = None

    def seconds(self, stamp: Any) -> float:
        """Seconds of a stamp; negative before the first one."""
        if self._origin is None:
            self._origin = nanoseconds(stamp)
        return (nanoseconds(stamp) - self._origin) / NANOSECONDS

    def nanoseconds(self, seconds: float) -> int:
        """Nanoseconds since the epoch of the stamp whose ``seconds`` these are."""
        return (self._origin or 0) + round(seconds * NANOSECONDS)

    def message(self, seconds: float) -> Time:
        """The stamp whose ``seconds`` these are."""
        total = self.nanoseconds(seconds)
        return Time(sec=total // NANOSECONDS, nanosec=total % NANOSECONDS)

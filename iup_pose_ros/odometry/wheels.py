"""Histories of wheel odometry and of a gyroscope, and the motion between any two stamps."""

from __future__ import annotations

import bisect
import threading
from typing import Protocol

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array, exp
from iup_pose_ros.stamps import StampClock

# Nanoseconds: length of the history; maximum gap between samples for interpolation; an older stamp beyond
# this is a clock that jumped back, within it a message out of order.
_MEMORY = 120_000_000_000
_MAX_GAP = 500_000_000
_CLOCK_JUMP = 1_000_000_000
# Seconds that an image waits for wheel odometry that is at least as recent.
_PATIENCE = 0.3


class WheelMotion(Protocol):
    """Interface of wheel odometry for the scale."""

    def between(self, start: float, end: float) -> Pose:
        """Return T_start_end of the base, metres; times are seconds on the clock of the frames' stamps.

        Raises:
            EstimationError: wheel odometry does not cover the two times.
        """


class MotionHistory:
    """Poses of a frame in the last two minutes; thread-safe.

    Stamps are integer nanoseconds of one clock and therefore exact.

    Args:
        source: name of the sensor for error messages.

    Attributes:
        rate_variances: (6,) variances of the linear and angular velocities of the latest measurement; 0 if
            unknown.
    """

    def __init__(self, source: str) -> None:
        self.rate_variances = np.zeros(6)
        self._source = source
        self._changed = threading.Condition()
        self._stamps: list[int] = []
        self._poses: list[Pose] = []

    def add(self, stamp: int, T_origin_frame: Pose) -> None:
        """Add a pose; a stamp more than a second older than the last (clock jump) clears the history."""
        with self._changed:
            if self._stamps and stamp < self._stamps[-1] - _CLOCK_JUMP:
                self._stamps.clear()
                self._poses.clear()
            position = bisect.bisect_left(self._stamps, stamp)
            if position < len(self._stamps) and self._stamps[position] == stamp:
                return
            self._stamps.insert(position, stamp)
            self._poses.insert(position, T_origin_frame)
            outdated = bisect.bisect_left(self._stamps, self._stamps[-1] - _MEMORY)
            del self._stamps[:outdated], self._poses[:outdated]
            self._changed.notify_all()

    def between(self, start: int, end: int, patience: float = 0.0) -> Pose:
        """Return T_start_end of the frame, interpolated, metres.

        Args:
            start: stamp, nanoseconds.
            end: stamp, nanoseconds.
            patience: maximum seconds to wait for a pose at or after ``end``.

        Raises:
            EstimationError: a stamp is outside the history, or between two poses that are too far apart.
        """
        with self._changed:
            # If the last pose is older than the maximum gap, the next one could not be used: do not wait.
            if self._stamps and self._stamps[-1] >= end - _MAX_GAP:
                self._changed.wait_for(lambda: self._stamps[-1] >= end, patience)
            return self._at(start).inverse() @ self._at(end)

    def _at(self, stamp: int) -> Pose:
        """Return the pose at a stamp, interpolated between its neighbours."""
        after = bisect.bisect_left(self._stamps, stamp)
        if after < len(self._stamps) and self._stamps[after] == stamp:
            return self._poses[after]
        if not self._stamps:
            raise EstimationError(f"no {self._source} received")
        if after in (0, len(self._stamps)):
            distance = abs(stamp - self._stamps[min(after, len(self._stamps) - 1)]) * 1e-9
            which, relation = ("first", "newer") if after == 0 else ("latest", "older")
            raise EstimationError(f"{which} {self._source} is {distance:.2f} s {relation} than the image")
        gap = self._stamps[after] - self._stamps[after - 1]
        if gap > _MAX_GAP:
            raise EstimationError(
                f"{self._source} has a gap of {gap * 1e-9:.2f} s around the image, maximum "
                f"{_MAX_GAP * 1e-9:g} s"
            )
        share = (stamp - self._stamps[after - 1]) / gap
        return interpolated(self._poses[after - 1], self._poses[after], share)


class WheelHistory(MotionHistory):
    """Poses of the base by wheel odometry."""

    def __init__(self) -> None:
        super().__init__("wheel odometry")


class WheelsOfFrames:
    """Wheel motion between the stamps of frames (implements WheelMotion).

    Args:
        history: poses by nanoseconds since the epoch.
        clock: clock of the frames' stamps.
    """

    def __init__(self, history: WheelHistory, clock: StampClock) -> None:
        self._history = history
        self._clock = clock

    def between(self, start: float, end: float) -> Pose:
        """See WheelMotion.between."""
        clock = self._clock
        return self._history.between(clock.nanoseconds(start), clock.nanoseconds(end), _PATIENCE)


class GyroHistory(MotionHistory):
    """Orientations of an IMU, integrated from its angular velocities; thread-safe.

    Attributes:
        frame_id: frame of the latest angular velocity.
    """

    def __init__(self) -> None:
        super().__init__("imu")
        self.frame_id = ""
        self._last: tuple[int, Array] | None = None
        self._orientation = np.eye(3)

    def add_rate(self, stamp: int, rate: Array) -> None:
        """Add an angular velocity (3,) in rad/s; one that is out of order is ignored.

        The velocity between two measurements is their mean; ``between`` refuses gaps between them.
        """
        last, self._last = self._last, (stamp, rate)
        if last is not None and last[0] - _CLOCK_JUMP <= stamp <= last[0]:
            self._last = last
            return
        if last is not None and stamp > last[0]:
            self._orientation = self._orientation @ exp(0.5 * (last[1] + rate) * (stamp - last[0]) * 1e-9)
        self.add(stamp, Pose(self._orientation, np.zeros(3)))


def interpolated(before: Pose, after: Pose, share: float) -> Pose:
    """Interpolate between two poses at ``share`` (0 to 1): linear translation, spherical linear rotation."""
    rotations = Slerp([0.0, 1.0], Rotation.from_matrix([before.rotation, after.rotation]))
    translation = (1.0 - share) * before.translation + share * after.translation
    return Pose(rotations(share).as_matrix(), translation)

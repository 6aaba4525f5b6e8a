"""Motion of the base that the wheels measured, between any two moments."""

from __future__ import annotations

import bisect
import threading
from typing import Protocol

from scipy.spatial.transform import Rotation, Slerp

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose

# Nanoseconds: how much is remembered; how far apart samples may be between which is interpolated; what is a
# clock set back rather than disorder.
_MEMORY = 120_000_000_000
_MAX_GAP = 500_000_000
_CLOCK_JUMP = 1_000_000_000


class WheelMotion(Protocol):
    """What the scale asks of wheel odometry."""

    def between(self, start: float, end: float) -> Pose:
        """T_start_end of the base, metres; times in the clock of the frames' stamps, seconds.

        Raises:
            EstimationError: the wheels do not cover the two moments.
        """


class WheelHistory:
    """Poses of the base by wheel odometry in the last two minutes. Several threads may use it.

    Stamps are nanoseconds of any one clock, so that none is rounded.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stamps: list[int] = []
        self._poses: list[Pose] = []

    def add(self, stamp: int, T_odom_base: Pose) -> None:
        """Takes the next pose. One more than a second older than the last means a clock that was set back."""
        with self._changed:
            if self._stamps and stamp < self._stamps[-1] - _CLOCK_JUMP:
                self._stamps.clear()
                self._poses.clear()
            position = bisect.bisect_left(self._stamps, stamp)
            if position < len(self._stamps) and self._stamps[position] == stamp:
                return
            self._stamps.insert(position, stamp)
            self._poses.insert(position, T_odom_base)
            outdated = bisect.bisect_left(self._stamps, self._stamps[-1] - _MEMORY)
            del self._stamps[:outdated], self._poses[:outdated]
            self._changed.notify_all()

    def between(self, start: int, end: int, patience: float = 0.0) -> Pose:
        """T_start_end of the base, interpolated, metres.

        Args:
            start: stamp, nanoseconds.
            end: stamp, nanoseconds.
            patience: seconds to wait for a pose as late as ``end``.

        Raises:
            EstimationError: a stamp lies outside the poses, or between two that are too far apart.
        """
        with self._changed:
            # What is older than the widest gap is not awaited: the next pose could not be used.
            if self._stamps and self._stamps[-1] >= end - _MAX_GAP:
                self._changed.wait_for(lambda: self._stamps[-1] >= end, patience)
            return self._at(start).inverse() @ self._at(end)

    def _at(self, stamp: int) -> Pose:
        after = bisect.bisect_left(self._stamps, stamp)
        if after < len(self._stamps) and self._stamps[after] == stamp:
            return self._poses[after]
        if not self._stamps:
            raise EstimationError("no wheel odometry has come: a step's length is not known")
        if after in (0, len(self._stamps)):
            distance = abs(stamp - self._stamps[min(after, len(self._stamps) - 1)]) * 1e-9
            side = "begins" if after == 0 else "ends"
            raise EstimationError(
                f"wheel odometry {side} {distance:.2f} s {'after' if after == 0 else 'before'} the image: "
                "a step's length is not known"
            )
        gap = self._stamps[after] - self._stamps[after - 1]
        if gap > _MAX_GAP:
            raise EstimationError(
                f"wheel odometry has a gap of {gap * 1e-9:.2f} s around the image, at most "
                f"{_MAX_GAP * 1e-9:g} s is bridged: a step's length is not known"
            )
        share = (stamp - self._stamps[after - 1]) / gap
        return interpolated(self._poses[after - 1], self._poses[after], share)


def interpolated(before: Pose, after: Pose, share: float) -> Pose:
    """The pose at ``share`` (0 to 1) of the way between two: straight and turning evenly."""
    rotations = Slerp([0.0, 1.0], Rotation.from_matrix([before.rotation, after.rotation]))
    translation = (1.0 - share) * before.translation + share * after.translation
    return Pose(rotations(share).as_matrix(), translation)

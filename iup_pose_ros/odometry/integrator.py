"""Chains steps into the pose of the base in the odometry frame."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.odometry.state import Twist

# The origin is exact by definition; a covariance in ROS must still be positive definite.
_ORIGIN_VARIANCE = 1e-12
# Until a speed is known a gap is bridged with one unit, and half a radian, per second.
_UNKNOWN_SPEED = 1.0
_UNKNOWN_TURN_RATE = 0.5
_LATEST_SHARE = 0.3
_SAME_TIME = 1e-9


class Integrator:
    """Pose of the base in the odometry frame, with covariance, and the twist of the last step."""

    def __init__(self) -> None:
        self._origin = PoseWithCovariance(Pose.identity(), _ORIGIN_VARIANCE * np.eye(6))
        self.pose = self._origin
        self.moved = False
        self._stamp: float | None = None
        self._speed = _UNKNOWN_SPEED
        self._turn_rate = _UNKNOWN_TURN_RATE

    def advance(self, T_prev_curr: PoseWithCovariance, previous_stamp: float, current_stamp: float) -> Twist:
        """Appends the base's step between two stamps; time between the last step and this one is a gap."""
        self._bridge_until(previous_stamp)
        self.pose = self.pose @ T_prev_curr
        self._stamp = current_stamp
        twist = mean_twist(T_prev_curr, current_stamp - previous_stamp)
        # A mean of the last few steps, so that no single one decides what a gap may hold.
        share = _LATEST_SHARE if self.moved else 1.0
        self._speed += share * (float(np.linalg.norm(twist.linear)) - self._speed)
        self._turn_rate += share * (float(np.linalg.norm(twist.angular)) - self._turn_rate)
        self.moved = True
        return twist

    def rest(self, since: float, stamp: float) -> None:
        """The base has stood still from ``since`` to ``stamp``; time before that is a gap."""
        self._bridge_until(since)
        self._stamp = stamp

    def restart_clock(self, stamp: float, gap: float) -> None:
        """Stamps start again at ``stamp``; about ``gap`` seconds have passed meanwhile."""
        if self._stamp is not None:
            self._bridge(gap)
            self._stamp = stamp

    def _bridge_until(self, stamp: float) -> None:
        if self._stamp is not None:
            self._bridge(stamp - self._stamp)

    def _bridge(self, gap: float) -> None:
        """Adds what may have happened unseen in ``gap`` seconds at about the speed of the last steps."""
        if gap <= _SAME_TIME:
            return
        growth = np.zeros((6, 6))
        growth[:3, :3] = (self._speed * gap) ** 2 * np.eye(3)
        growth[3:, 3:] = min(self._turn_rate * gap, np.pi) ** 2 * np.eye(3)
        self.pose = PoseWithCovariance(self.pose.pose, self.pose.covariance + growth)


def mean_twist(T_prev_curr: PoseWithCovariance, interval: float) -> Twist:
    """Velocity that makes the step in ``interval`` seconds, in axes midway between its ends.

    A body that moves steadily keeps its velocity in its own axes; halfway through the turn these give the
    step's mean velocity, to second order in the rotation.
    """
    turn = so3.log(T_prev_curr.pose.rotation)
    halfway = so3.exp(-0.5 * turn)
    axes = np.zeros((6, 6))
    axes[:3, :3] = axes[3:, 3:] = halfway
    covariance = symmetrised(axes @ T_prev_curr.covariance @ axes.T) / interval**2
    return Twist(halfway @ T_prev_curr.pose.translation / interval, turn / interval, covariance)


def zero_twist(linear_sigma: float, angular_sigma: float) -> Twist:
    """Twist of a base at rest: deviations per axis in units per second and radians per second."""
    variances = np.repeat([linear_sigma**2, angular_sigma**2], 3)
    return Twist(np.zeros(3), np.zeros(3), np.diag(variances))

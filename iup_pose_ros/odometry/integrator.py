"""Integration of steps to the pose of the base in the odometry frame."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.odometry.state import Twist

# The origin is exact by definition; a covariance in ROS must still be positive definite.
_ORIGIN_VARIANCE = 1e-12
# Speeds per second assumed for a gap before any step was measured: units of length, radians.
_UNKNOWN_SPEED = 1.0
_UNKNOWN_TURN_RATE = 0.5
_LATEST_SHARE = 0.3
_SAME_TIME = 1e-9
_IDENTITY = Pose.identity()


class Integrator:
    """Pose of the base in the odometry frame with covariance, from motions of the camera.

    Args:
        T_base_camera: pose of the camera in the base frame.
    """

    def __init__(self, T_base_camera: Pose = _IDENTITY) -> None:
        self._T_base_camera = T_base_camera
        self._origin = PoseWithCovariance(Pose.identity(), _ORIGIN_VARIANCE * np.eye(6))
        self.pose = self._origin
        self.moved = False
        self._stamp: float | None = None
        self._speed = _UNKNOWN_SPEED
        self._turn_rate = _UNKNOWN_TURN_RATE

    def advance(self, T_prev_curr: PoseWithCovariance, previous_stamp: float, current_stamp: float) -> None:
        """Append a camera step between two stamps; time between the last step and this one is a gap."""
        self.pose = self.pose_after(T_prev_curr, previous_stamp)
        self._stamp = current_stamp
        twist = self.twist(T_prev_curr, current_stamp - previous_stamp)
        # Averaged over the last steps, so that no single step determines the uncertainty of a gap.
        share = _LATEST_SHARE if self.moved else 1.0
        self._speed += share * (float(np.linalg.norm(twist.linear)) - self._speed)
        self._turn_rate += share * (float(np.linalg.norm(twist.angular)) - self._turn_rate)
        self.moved = True

    def pose_after(self, T_prev_curr: PoseWithCovariance, previous_stamp: float) -> PoseWithCovariance:
        """Return the pose after a step of the camera that starts at ``previous_stamp``; the pose stays."""
        base = T_prev_curr.change_of_frame(self._T_base_camera)
        return self._bridged(self._gap_until(previous_stamp)) @ base

    def twist(self, T_prev_curr: PoseWithCovariance, interval: float) -> Twist:
        """Return the mean twist of the base during a motion of the camera of ``interval`` seconds."""
        return mean_twist(T_prev_curr.change_of_frame(self._T_base_camera), interval)

    def rest(self, since: float, stamp: float) -> None:
        """Note that the base was at rest from ``since`` to ``stamp``; time before that is a gap."""
        self.pose = self._bridged(self._gap_until(since))
        self._stamp = stamp

    def restart_clock(self, stamp: float, gap: float) -> None:
        """Continue at ``stamp`` after the clock jumped back; assume ``gap`` seconds have elapsed."""
        if self._stamp is not None:
            self.pose = self._bridged(gap)
            self._stamp = stamp

    def _gap_until(self, stamp: float) -> float:
        """Return the seconds without observation before ``stamp``; 0 before the first step."""
        return 0.0 if self._stamp is None else stamp - self._stamp

    def _bridged(self, gap: float) -> PoseWithCovariance:
        """Return the pose with the covariance of ``gap`` seconds of unobserved motion at the last speed."""
        if gap <= _SAME_TIME:
            return self.pose
        growth = np.zeros((6, 6))
        growth[:3, :3] = (self._speed * gap) ** 2 * np.eye(3)
        growth[3:, 3:] = min(self._turn_rate * gap, np.pi) ** 2 * np.eye(3)
        return PoseWithCovariance(self.pose.pose, self.pose.covariance + growth)


def mean_twist(T_prev_curr: PoseWithCovariance, interval: float) -> Twist:
    """Return the mean velocity of a step of ``interval`` seconds, in the axes midway through its rotation.

    Under constant body velocity this is exact to second order in the rotation.
    """
    turn = so3.log(T_prev_curr.pose.rotation)
    halfway = so3.exp(-0.5 * turn)
    axes = np.zeros((6, 6))
    axes[:3, :3] = axes[3:, 3:] = halfway
    covariance = symmetrised(axes @ T_prev_curr.covariance @ axes.T) / interval**2
    return Twist(halfway @ T_prev_curr.pose.translation / interval, turn / interval, covariance)


def zero_twist(linear_sigma: float, angular_sigma: float) -> Twist:
    """Return the twist of a base at rest; standard deviations per axis in units/s and rad/s."""
    variances = np.repeat([linear_sigma**2, angular_sigma**2], 3)
    return Twist(np.zeros(3), np.zeros(3), np.diag(variances))

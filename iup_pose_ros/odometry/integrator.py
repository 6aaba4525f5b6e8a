"""Integration of steps to the pose of the base in the odometry frame."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.motion_prior import Bridge
from iup_pose_ros.odometry.state import Twist

# The origin is exact by definition; a covariance in ROS must still be positive definite.
_ORIGIN_VARIANCE = 1e-12
# Speeds per second assumed for a gap before any step was measured: units of length, radians.
_UNKNOWN_SPEED = 1.0
_UNKNOWN_TURN_RATE = 0.5
_LATEST_SHARE = 0.3
_SAME_TIME = 1e-9
_IDENTITY = Pose.identity()
_NO_BRIDGE = Bridge(None, _IDENTITY)


class Integrator:
    """Pose of the base in the odometry frame with covariance, from motions of the camera.

    Args:
        T_base_camera: pose of the camera in the base frame.
        bridge: motion of the base while no step is measured.

    Attributes:
        pose: T_odom_base after the last step.
        stamp: of the last step, seconds; None before the first one.
        moved: whether there was a step.
        since_edge: motion of the base since ``start_edge``.
    """

    def __init__(self, T_base_camera: Pose = _IDENTITY, bridge: Bridge = _NO_BRIDGE) -> None:
        self._T_base_camera = T_base_camera
        self._bridge = bridge
        self._origin = PoseWithCovariance(Pose.identity(), _ORIGIN_VARIANCE * np.eye(6))
        self.pose = self._origin
        self.stamp: float | None = None
        self.moved = False
        self._speed = _UNKNOWN_SPEED
        self._turn_rate = _UNKNOWN_TURN_RATE
        self.start_edge()

    def start_edge(self) -> None:
        """Begin a new edge of the pose graph at the last step."""
        self.since_edge = PoseWithCovariance.exact(Pose.identity())
        self._is_bridged, self._is_broken = False, False

    @property
    def is_edge_bridged(self) -> bool:
        """Return whether the motion prior bridges a gap of the edge, and no gap is left."""
        return self._is_bridged and not self._is_broken

    def advance(self, T_prev_curr: PoseWithCovariance, previous_stamp: float, current_stamp: float) -> None:
        """Append a camera step between two stamps; time between the last step and this one is a gap."""
        self.rest(previous_stamp, current_stamp)
        self._move(T_prev_curr.change_of_frame(self._T_base_camera))
        twist = self.twist(T_prev_curr, current_stamp - previous_stamp)
        # Averaged over the last steps, so that no single step determines the uncertainty of a gap.
        share = _LATEST_SHARE if self.moved else 1.0
        self._speed += share * (float(np.linalg.norm(twist.linear)) - self._speed)
        self._turn_rate += share * (float(np.linalg.norm(twist.angular)) - self._turn_rate)
        self.moved = True

    def pose_after(self, T_prev_curr: PoseWithCovariance, previous_stamp: float) -> PoseWithCovariance:
        """Return the pose after a step of the camera that starts at ``previous_stamp``; the pose stays."""
        gap = self._gap_until(previous_stamp)
        base = T_prev_curr.change_of_frame(self._T_base_camera)
        return (self.pose if gap is None else self.pose @ gap[0]) @ base

    def twist(self, T_prev_curr: PoseWithCovariance, interval: float) -> Twist:
        """Return the mean twist of the base during a motion of the camera of ``interval`` seconds."""
        return mean_twist(T_prev_curr.change_of_frame(self._T_base_camera), interval)

    def rest(self, since: float, stamp: float) -> None:
        """Note that the base was at rest from ``since`` to ``stamp``; time before that is a gap."""
        gap = self._gap_until(since)
        if gap is not None:
            motion, is_bridged = gap
            self._move(motion)
            self._is_bridged |= is_bridged
            self._is_broken |= not is_bridged
        self.stamp = stamp

    def restart_clock(self, stamp: float, gap: float) -> None:
        """Continue at ``stamp`` after the clock jumped back; assume ``gap`` seconds have elapsed."""
        if self.stamp is not None:
            self._move(PoseWithCovariance(Pose.identity(), np.diag(self._unobserved(gap))))
            self._is_broken = True
            self.stamp = stamp

    def _gap_until(self, stamp: float) -> tuple[PoseWithCovariance, bool] | None:
        """Return the motion since the last step, see ``motion_between``; None if there is no gap."""
        if self.stamp is None or stamp - self.stamp <= _SAME_TIME:
            return None
        return self.motion_between(self.stamp, stamp)

    def _move(self, motion: PoseWithCovariance) -> None:
        self.pose, self.since_edge = self.pose @ motion, self.since_edge @ motion

    def motion_between(self, start: float, end: float) -> tuple[PoseWithCovariance, bool]:
        """Return a motion of the base that is not seen in images, and whether it is by the motion prior.

        Otherwise it is zero, with the deviation of a motion at the last speed.
        """
        unobserved = self._unobserved(end - start)
        by_prior = self._bridge.motion(start, end, unobserved)
        if by_prior is not None:
            return by_prior, True
        return PoseWithCovariance(Pose.identity(), np.diag(unobserved)), False

    def _unobserved(self, gap: float) -> Array:
        """Return the variances (6,) of ``gap`` seconds of unobserved motion at the last speed."""
        return np.repeat([(self._speed * gap) ** 2, min(self._turn_rate * gap, np.pi) ** 2], 3)


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

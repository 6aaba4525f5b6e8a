"""Integration of steps to the pose of the base in the odometry frame, across losses by a motion prior."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.image_pose import ImagePose
from iup_pose_ros.odometry.motion_prior import Bridge
from iup_pose_ros.odometry.scaled_step import UNKNOWN_DIRECTION
from iup_pose_ros.odometry.state import KeyframeEdge, Twist
from iup_pose_ros.odometry.tracks import Tracks

# The origin is exact by definition; a covariance in ROS must still be positive definite.
_ORIGIN_VARIANCE = 1e-12
# Speeds per second assumed for a gap before any step was measured: units of length, radians.
_UNKNOWN_SPEED = 1.0
_UNKNOWN_TURN_RATE = 0.5
# Weight of the latest step in the mean speed.
_LATEST_SHARE = 0.3
# Seconds: times that differ by less are the same.
_SAME_TIME = 1e-9
# Seconds before a stamp over which the twist by the motion prior is its mean.
_TWIST_INTERVAL = 0.1
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
        image: last image since that step with a pose relative to its keyframe; None if there is none.
    """

    def __init__(self, T_base_camera: Pose = _IDENTITY, bridge: Bridge = _NO_BRIDGE) -> None:
        self._T_base_camera = T_base_camera
        self._bridge = bridge
        self._origin = PoseWithCovariance(Pose.identity(), _ORIGIN_VARIANCE * np.eye(6))
        self.pose = self._origin
        self.stamp: float | None = None
        self.moved = False
        self.image: ImagePose | None = None
        self._speed = _UNKNOWN_SPEED
        self._turn_rate = _UNKNOWN_TURN_RATE
        self._last_keyframe: tuple[int, float] | None = None
        self._start_edge()

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

    def place(self, image: ImagePose, tracks: Tracks) -> tuple[PoseWithCovariance, Twist]:
        """Return pose and twist at an image of these tracks; a loss continues from there, ``pose`` stays."""
        last, self.image = self.last_image(tracks), image
        return self._pose_at(image), self.twist(last.motion_to(image), image.stamp - last.stamp)

    def last_image(self, tracks: Tracks) -> ImagePose:
        """Return the last image with a pose relative to the keyframe of these tracks, or the keyframe."""
        last = self.image
        same = last is not None and last.keyframe_id == tracks.keyframe_id
        return last if last is not None and same else ImagePose.of_keyframe(tracks)

    def adopt_keyframe(self, tracks: Tracks) -> None:
        """Measure later motions relative to the keyframe of these tracks."""
        if self.image is not None and self.image.keyframe_id != tracks.keyframe_id:
            self.drop_keyframe()

    def drop_keyframe(self) -> None:
        """Append the motion up to the last image with a pose, since its keyframe is given up."""
        if self.image is not None:
            self.advance(self.image.motion, self.image.keyframe_stamp, self.image.stamp)

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
            self._has_unknown_gap |= not is_bridged
        self.stamp, self.image = stamp, None

    def finish_edge(self, edge: KeyframeEdge) -> KeyframeEdge:
        """Return the edge to a new keyframe and begin the next one.

        If the motion prior covers all gaps since the last keyframe that had an edge, the returned edge starts
        at that keyframe and has the motion since then; otherwise it is ``edge``.
        """
        last, self._last_keyframe = self._last_keyframe, (edge.current_id, edge.current_stamp)
        base, is_bridged = self._since_edge, self._is_bridged and not self._has_unknown_gap
        self._start_edge()
        if last is None or not is_bridged:
            return edge
        return replace(
            edge,
            previous_id=last[0],
            previous_stamp=last[1],
            camera=base.change_of_frame(self._T_base_camera.inverse()),
            base=base,
            sigma_R=np.sqrt(np.diag(base.covariance)[3:]),
            sigma_t=UNKNOWN_DIRECTION,
            inlier_probability=math.nan,
            estimator="motion_prior",
            bridged=True,
        )

    def bridged(self, stamp: float) -> tuple[PoseWithCovariance, Twist] | None:
        """Return pose and twist of the base at a time by the motion prior; None if it does not cover that.

        The pose continues from the last image with a pose, or else from the last step.
        """
        if self.stamp is None:
            return None
        pose, since = self.pose, self.stamp
        if self.image is not None:
            pose, since = self._pose_at(self.image), self.image.stamp
        motion, is_known = self._motion_between(since, stamp)
        start = max(since, stamp - _TWIST_INTERVAL)
        recent, is_recent_known = self._motion_between(start, stamp)
        if not (is_known and is_recent_known):
            return None
        return pose @ motion, mean_twist(recent, stamp - start)

    def restart_clock(self, stamp: float, gap: float) -> None:
        """Continue at ``stamp`` after the clock jumped back; assume ``gap`` seconds have elapsed."""
        if self.stamp is not None:
            self._move(PoseWithCovariance(Pose.identity(), np.diag(self._unobserved(gap))))
            self._has_unknown_gap = True
            self.stamp = stamp

    def _pose_at(self, image: ImagePose) -> PoseWithCovariance:
        """Return the pose at an image, whose keyframe is that of the last step or a later one."""
        gap = self._gap_until(image.keyframe_stamp)
        base = image.motion.change_of_frame(self._T_base_camera)
        return (self.pose if gap is None else self.pose @ gap[0]) @ base

    def _start_edge(self) -> None:
        """Begin the edge of the pose graph from the last step to the next keyframe."""
        self._since_edge = PoseWithCovariance.exact(Pose.identity())
        # Whether the motion prior bridges a gap of the edge, and whether there is one that it does not cover.
        self._is_bridged, self._has_unknown_gap = False, False

    def _gap_until(self, stamp: float) -> tuple[PoseWithCovariance, bool] | None:
        """Return the motion since the last step, see ``_motion_between``; None if there is no gap."""
        if self.stamp is None or stamp - self.stamp <= _SAME_TIME:
            return None
        return self._motion_between(self.stamp, stamp)

    def _move(self, motion: PoseWithCovariance) -> None:
        self.pose, self._since_edge = self.pose @ motion, self._since_edge @ motion

    def _motion_between(self, start: float, end: float) -> tuple[PoseWithCovariance, bool]:
        """Return a motion of the base that is not seen in images, and whether it is by the motion prior.

        Without the prior it is zero, with the standard deviation of a motion at the mean speed.
        """
        unobserved = self._unobserved(end - start)
        by_prior = self._bridge.motion(start, end, unobserved)
        if by_prior is not None:
            return by_prior, True
        return PoseWithCovariance(Pose.identity(), np.diag(unobserved)), False

    def _unobserved(self, gap: float) -> Array:
        """Return the variances (6,) of ``gap`` seconds of unobserved motion at the mean speed."""
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
    return Twist(halfway @ T_prev_curr.pose.translation / interval, turn / interval, covariance, interval)


def zero_twist(linear_sigma: float, angular_sigma: float) -> Twist:
    """Return the twist of a base at rest; standard deviations per axis in units/s and rad/s."""
    variances = np.repeat([linear_sigma**2, angular_sigma**2], 3)
    return Twist(np.zeros(3), np.zeros(3), np.diag(variances))

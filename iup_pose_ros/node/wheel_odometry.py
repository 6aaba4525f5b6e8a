"""Subscription to wheel odometry, for metric scale and as motion prior."""

from __future__ import annotations

from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import pose_of
from iup_pose_ros.node.subscriptions import subscribe_to_sensor
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.stamps import StampClock, nanoseconds

_DEPTH = 50
_LOG_PERIOD = 30.0
# Seconds that an image waits for wheel odometry that is at least as recent.
_PATIENCE = 0.3
# Some drivers publish quaternions that are far from unit length.
_QUATERNION_TOLERANCE = 0.5
# Squares of m/s and rad/s: larger variances, also infinite ones, are as uncertain as this one.
_LARGEST_VARIANCE = 1e4


class WheelOdometry:
    """Adds nav_msgs/Odometry received on ``wheel_odometry`` to a history.

    Args:
        node: owner of the subscription.
        base_frame: expected child frame of the messages.
        history: stores the poses.
    """

    def __init__(self, node: Node, base_frame: str, history: WheelHistory) -> None:
        self._node = node
        self._base_frame = base_frame
        self._history = history
        self._subscription = subscribe_to_sensor(node, Odometry, "wheel_odometry", self._on_odometry, _DEPTH)

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_odometry(self, message: Any) -> None:
        pose = message.pose.pose
        try:
            T_odom_base = pose_of(pose.position, pose.orientation, _QUATERNION_TOLERANCE)
        except DataError as error:
            self._warn(f"wheel odometry message ignored: {error}")
            return
        if message.child_frame_id != self._base_frame:
            self._warn(
                f"wheel odometry has child frame {message.child_frame_id!r}; {self._base_frame!r} is assumed"
            )
        variances = np.reshape(message.twist.covariance, (6, 6)).diagonal()
        # NaN and negative variances, which some drivers send, count as unknown.
        self._history.rate_variances = np.clip(np.nan_to_num(variances), 0.0, _LARGEST_VARIANCE)
        self._history.add(nanoseconds(message.header.stamp), T_odom_base)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=_LOG_PERIOD)


class WheelsOfFrames:
    """Wheel motion between the stamps of frames (implements odometry.WheelMotion).

    Args:
        history: poses by nanoseconds since the epoch.
        clock: clock of the frames' stamps.
    """

    def __init__(self, history: WheelHistory, clock: StampClock) -> None:
        self._history = history
        self._clock = clock

    def between(self, start: float, end: float) -> Pose:
        """See odometry.WheelMotion.between."""
        clock = self._clock
        return self._history.between(clock.nanoseconds(start), clock.nanoseconds(end), _PATIENCE)

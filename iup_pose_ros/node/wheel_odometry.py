"""Subscription to wheel odometry, for metric scale and as motion prior."""

from __future__ import annotations

from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node

from iup_pose_ros.node.subscriptions import subscribe_to_sensor
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.odometry.sensor_histories import add_wheel_odometry

_DEPTH = 50
_LOG_PERIOD = 30.0


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
        warning = add_wheel_odometry(self._history, message, self._base_frame)
        if warning:
            self._node.get_logger().warning(warning, throttle_duration_sec=_LOG_PERIOD)

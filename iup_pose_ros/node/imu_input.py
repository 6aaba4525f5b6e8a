"""Subscription to the angular velocities of an IMU, as motion prior."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Imu

from iup_pose_ros.node.subscriptions import subscribe_to_sensor
from iup_pose_ros.odometry.sensor_histories import add_angular_velocity
from iup_pose_ros.odometry.wheels import GyroHistory

# IMUs send up to 1000 messages per second.
_DEPTH = 500
_LOG_PERIOD = 30.0


class ImuInput:
    """Adds the angular velocities of sensor_msgs/Imu received on ``imu`` to a history.

    Args:
        node: owner of the subscription.
        history: integrates the angular velocities.
    """

    def __init__(self, node: Node, history: GyroHistory) -> None:
        self._node = node
        self._history = history
        self._subscription = subscribe_to_sensor(node, Imu, "imu", self._on_imu, _DEPTH)

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_imu(self, message: Any) -> None:
        warning = add_angular_velocity(self._history, message)
        if warning:
            self._node.get_logger().warning(warning, throttle_duration_sec=_LOG_PERIOD)

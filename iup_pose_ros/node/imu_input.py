"""Subscription to the angular velocities of an IMU, as motion prior."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Imu

from iup_pose_ros.node.subscriptions import subscribe_to_sensor
from iup_pose_ros.odometry.wheels import GyroHistory
from iup_pose_ros.stamps import nanoseconds

# IMUs send up to 1000 messages per second.
_DEPTH = 500
_LOG_PERIOD = 30.0
# rad/s and (rad/s)^2: no gyroscope measures a faster turn; larger variances are as uncertain as this one.
_FASTEST = 100.0
_LARGEST_VARIANCE = 1e4


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
        measured = message.angular_velocity
        rate = np.array([measured.x, measured.y, measured.z])
        variances = np.reshape(message.angular_velocity_covariance, (3, 3)).diagonal()
        # -1 as the first variance marks a message without angular velocity (sensor_msgs/Imu).
        if variances[0] == -1.0 or not np.all(np.abs(rate) <= _FASTEST):
            self._node.get_logger().warning(
                f"imu message ignored: its angular velocity {rate.tolist()} exceeds {_FASTEST:g} rad/s, "
                "is not finite, or is marked as absent by -1 in its covariance",
                throttle_duration_sec=_LOG_PERIOD,
            )
            return
        known = np.clip(np.nan_to_num(variances), 0.0, _LARGEST_VARIANCE)
        self._history.frame_id = message.header.frame_id
        self._history.rate_variances = np.concatenate([np.zeros(3), known])
        self._history.add_rate(nanoseconds(message.header.stamp), rate)

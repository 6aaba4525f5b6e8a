"""Measurements beside the images, by value of ``scale_source`` and ``motion_prior``; without ROS.

Messages are those of rclpy or of rosbags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.message_poses import pose_of
from iup_pose_ros.odometry.scene_sensors import MessageHistory
from iup_pose_ros.odometry.wheels import GyroHistory, WheelHistory
from iup_pose_ros.stamps import nanoseconds

# Some drivers publish quaternions that are far from unit length.
_QUATERNION_TOLERANCE = 0.5
# rad/s: no gyroscope measures a faster turn.
_FASTEST = 100.0
# Squares of m/s and rad/s: larger variances, also infinite ones, are as uncertain as this one.
_MAX_VARIANCE = 1e4
# Name of the messages in errors and number of them that are kept, by value of scale_source. A keyframe is at
# most some tens of images old when its depth is asked for; range sensors measure up to 1000 times a second.
_SCENE_MESSAGES = {"depth": ("depth image", 60), "range": ("range", 2000)}


@dataclass(frozen=True, eq=False)
class SensorHistories:
    """The histories that the settings require; None where they require none.

    Attributes:
        wheels: poses by wheel odometry, if scale_source or motion_prior is odometry.
        gyro: angular velocities, if motion_prior is imu.
        scene: depth images or ranges, if scale_source is depth or range.
    """

    wheels: WheelHistory | None
    gyro: GyroHistory | None
    scene: MessageHistory | None

    @classmethod
    def required(cls, scale_source: str, motion_prior: str) -> SensorHistories:
        """Return empty histories for the values of these two parameters."""
        what = _SCENE_MESSAGES.get(scale_source)
        return cls(
            wheels=WheelHistory() if "odometry" in (scale_source, motion_prior) else None,
            gyro=GyroHistory() if motion_prior == "imu" else None,
            scene=None if what is None else MessageHistory(*what),
        )


def add_wheel_odometry(history: WheelHistory, message: Any, base_frame: str) -> str:
    """Add a nav_msgs/Odometry; return a warning, one sentence, or an empty text.

    Args:
        history: stores the poses.
        message: the message; without a valid pose it is ignored.
        base_frame: expected child frame.
    """
    pose = message.pose.pose
    try:
        T_odom_base = pose_of(pose.position, pose.orientation, _QUATERNION_TOLERANCE)
    except DataError as error:
        return f"wheel odometry message ignored: {error}"
    variances = np.reshape(message.twist.covariance, (6, 6)).diagonal()
    # NaN and negative variances, which some drivers send, count as unknown.
    history.rate_variances = np.clip(np.nan_to_num(variances), 0.0, _MAX_VARIANCE)
    history.add(nanoseconds(message.header.stamp), T_odom_base)
    if message.child_frame_id != base_frame:
        return f"wheel odometry has child frame {message.child_frame_id!r}; {base_frame!r} is assumed"
    return ""


def add_angular_velocity(history: GyroHistory, message: Any) -> str:
    """Add the angular velocity of a sensor_msgs/Imu; return a warning if it has none, or an empty text."""
    measured = message.angular_velocity
    rate = np.array([measured.x, measured.y, measured.z])
    variances = np.reshape(message.angular_velocity_covariance, (3, 3)).diagonal()
    # -1 as the first variance marks a message without angular velocity (sensor_msgs/Imu).
    if variances[0] == -1.0 or not np.all(np.abs(rate) <= _FASTEST):
        return (
            f"imu message ignored: its angular velocity {rate.tolist()} exceeds {_FASTEST:g} rad/s, is not "
            "finite, or is marked as absent by -1 in its covariance"
        )
    known = np.clip(np.nan_to_num(variances), 0.0, _MAX_VARIANCE)
    history.frame_id = message.header.frame_id
    history.rate_variances = np.concatenate([np.zeros(3), known])
    history.add_rate(nanoseconds(message.header.stamp), rate)
    return ""

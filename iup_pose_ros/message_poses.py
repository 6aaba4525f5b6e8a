"""Conversion of poses in ROS messages of rclpy or rosbags; without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

# Some files and messages have only four decimals.
QUATERNION_TOLERANCE = 0.01
# Metres: coordinates of places on Earth are below this.
_FARTHEST = 1e8


def pose_of(position: Any, orientation: Any, tolerance: float = QUATERNION_TOLERANCE) -> Pose:
    """Return the pose of a position (x, y, z) and a quaternion (x, y, z, w), which is normalised.

    Args:
        position: any object with the fields of geometry_msgs/Point or Vector3.
        orientation: any object with the fields of geometry_msgs/Quaternion.
        tolerance: maximum deviation of the quaternion's length from 1.

    Raises:
        DataError: the quaternion is not of unit length, or a coordinate is not within 1e8 m.
    """
    translation = np.array([position.x, position.y, position.z], dtype=np.float64)
    quaternion = np.array([orientation.x, orientation.y, orientation.z, orientation.w], dtype=np.float64)
    length = float(np.linalg.norm(quaternion))
    # Written so that NaN fails, too.
    if not (abs(length - 1.0) <= tolerance and np.all(np.abs(translation) <= _FARTHEST)):
        raise DataError(
            f"position {translation.tolist()} and quaternion {quaternion.tolist()} of length {length:.4f} "
            f"are not a pose; a position within {_FARTHEST:g} m and a quaternion (x, y, z, w) of length 1 "
            "are required"
        )
    return Pose.from_quaternion(quaternion, translation)

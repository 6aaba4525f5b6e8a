"""Poses and frames in ROS messages of rclpy or rosbags, without ROS.

Images are in an optical frame (REP-103): x right, y down, z forward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

# Some files and messages have only four decimals.
QUATERNION_TOLERANCE = 0.01
# Metres: coordinates of places on Earth are below this.
_FARTHEST = 1e8
# Cosine of 45 degrees: the optical axis points along an axis if its component is larger than this.
_ALONG = 0.707


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


def frame_name(frame_id: str) -> str:
    """Return a frame_id without the leading slash of ROS 1, which tf2 does not know."""
    return frame_id.lstrip("/")


def optical_frame_warning(camera_frame: str, base_frame: str, T_base_camera: Pose) -> str:
    """Return a warning if a camera's frame seems not to be an optical frame, one sentence; otherwise empty.

    Simulators and some drivers use the frame of the camera body, x forward, as frame_id of images; its z
    axis, along which the camera of an optical frame looks, then points up or sideways.

    Args:
        camera_frame: frame_id of the images.
        base_frame: frame of the robot, x forward and z up.
        T_base_camera: extrinsics of the camera.
    """
    _, sideways, up = T_base_camera.rotation[:, 2]
    if "optical" in camera_frame or not (up > _ALONG or abs(sideways) > _ALONG):
        return ""
    where = "up" if up > _ALONG else "sideways"
    return (
        f"frame {camera_frame!r} of the images seems not to be an optical frame: its z axis points {where} "
        f"in {base_frame!r}, and its name lacks 'optical'; use an optical frame (rolled by -90 deg, yawed by "
        f"-90 deg) as frame_id of image and camera_info: ros2 run tf2_ros "
        f"static_transform_publisher --roll -1.5708 --yaw -1.5708 --frame-id {camera_frame} "
        f"--child-frame-id {camera_frame}_optical"
    )

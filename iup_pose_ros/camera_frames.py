"""Names and axes of camera frames (REP-103 optical frame: x right, y down, z forward)."""

from __future__ import annotations

from iup_pose_ros.geometry.pose import Pose

# Cosine of 45 degrees: the optical axis points along an axis if its component is larger than this.
_ALONG = 0.707


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

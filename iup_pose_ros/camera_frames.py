"""Names and axes of camera frames (REP-103: x right, y down, z along the view in an optical frame)."""

from __future__ import annotations

from iup_pose_ros.geometry.pose import Pose

# Cosine of 45 degrees: a camera whose view is nearer to an axis than this looks along it.
_ALONG = 0.707


def frame_name(frame_id: str) -> str:
    """Return a frame_id without the leading slash of ROS 1, which tf2 does not know."""
    return frame_id.lstrip("/")


def optical_frame_warning(camera_frame: str, base_frame: str, T_base_camera: Pose) -> str:
    """Return why a camera's frame seems to be no optical frame, one sentence; empty where it may be one.

    Simulators and some drivers stamp images with the frame of the camera's body, whose x axis points along
    the view; its z axis, along which an optical frame looks, then points up or sideways.

    Args:
        camera_frame: frame_id of the images.
        base_frame: frame of the robot, x ahead and z up.
        T_base_camera: mount of the camera.
    """
    _, sideways, up = T_base_camera.rotation[:, 2]
    if "optical" in camera_frame or not (up > _ALONG or abs(sideways) > _ALONG):
        return ""
    where = "up" if up > _ALONG else "sideways"
    return (
        f"frame {camera_frame!r} of the images seems to be no optical frame: a camera looks along z, which "
        f"points {where} in {base_frame!r}, and the name lacks 'optical'; usually meant is a frame turned by "
        f"roll -90 deg, yaw -90 deg as frame_id of image and camera_info: ros2 run tf2_ros "
        f"static_transform_publisher --roll -1.5708 --yaw -1.5708 --frame-id {camera_frame} "
        f"--child-frame-id {camera_frame}_optical"
    )

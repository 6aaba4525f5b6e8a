"""Frames that are no optical frames are told by where their z axis points and by their names."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import frame_name, optical_frame_warning

# Axes of an optical frame that looks ahead, in a base with x ahead and z up.
AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def mount(rotation: np.ndarray) -> Pose:
    return Pose(rotation, np.array([0.2, 0.0, 0.4]))


@pytest.mark.parametrize("pitch", [0.0, 0.5, -0.5])
def test_the_frame_of_a_cameras_body_is_named_with_the_rotation_that_is_meant(pitch):
    warning = optical_frame_warning("camera_link", "base_link", mount(so3.exp(np.array([0.0, pitch, 0.0]))))
    assert "points up in 'base_link'" in warning
    assert "--roll -1.5708 --yaw -1.5708 --frame-id camera_link" in warning


def test_a_body_frame_on_its_side_is_named():
    assert "points sideways" in optical_frame_warning(
        "cam", "base", mount(so3.exp(np.array([1.57, 0.0, 0.0])))
    )


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.0, 0.6, 0.0), (0.0, 1.57, 0.0), (0.0, 0.0, 0.5)])
def test_cameras_that_look_ahead_or_down_are_not(turn):
    rotation = so3.exp(np.array(turn)) @ AHEAD
    assert optical_frame_warning("camera", "base_link", mount(rotation)) == ""


def test_names_that_say_optical_are_believed():
    assert optical_frame_warning("camera_optical_frame", "base_link", mount(np.eye(3))) == ""


def test_leading_slashes_of_ros_1_are_left_out():
    assert [frame_name(name) for name in ("/camera", "camera", "")] == ["camera", "camera", ""]

"""What the player reads from recordings: stamps of serialised messages and the camera's mount."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.replay.mount import find_mount, static_transforms

STAMP = 1_700_000_000_123_456_789


@pytest.mark.parametrize("little_endian", [True, False])
def test_stamp_is_read_from_the_serialised_message(little_endian: bool) -> None:
    message = messages.image_message(np.zeros((2, 3), dtype=np.uint8), STAMP, "camera")
    data = messages.typestore().serialize_cdr(message, messages.IMAGE, little_endian=little_endian)
    assert messages.header_stamp(bytes(data)) == STAMP


def test_mount_is_that_of_the_recording(bag: Path) -> None:
    with BagReader(bag) as reader:
        transforms = static_transforms(reader)
    found = find_mount(transforms, "base_link", "camera_optical")
    assert found is not None
    np.testing.assert_allclose(found.rotation, so3.exp(np.array([0.4, -1.1, 0.7])), atol=1e-12)
    np.testing.assert_allclose(found.translation, [0.3, -0.2, 0.5], atol=1e-12)
    assert find_mount(transforms, "base_link", "other_camera") is None


def test_mount_may_have_a_link_between(bag: Path) -> None:
    with BagReader(bag) as reader:
        (to_camera,) = static_transforms(reader)
    to_camera.header.frame_id = "head"
    (to_head,) = _transforms(Pose(so3.exp(np.array([0.0, 0.0, np.pi / 2])), np.array([1.0, 0.0, 0.0])))
    found = find_mount([to_camera, to_head], "base_link", "camera_optical")
    assert found is not None
    np.testing.assert_allclose(found.translation, [1.2, 0.3, 0.5], atol=1e-12)


def _transforms(pose: Pose) -> list:
    from rclpy.serialization import deserialize_message
    from tf2_msgs.msg import TFMessage

    recorded = messages.mount_message(pose, "base_link", "head", 0)
    return list(deserialize_message(messages.serialize(recorded, messages.TF_MESSAGE), TFMessage).transforms)

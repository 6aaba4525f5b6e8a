"""What the player reads from recordings: stamps of serialised messages and the camera's mount."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.geometry import so3

STAMP = 1_700_000_000_123_456_789


@pytest.mark.parametrize("little_endian", [True, False])
def test_stamp_is_read_from_the_serialised_message(little_endian: bool) -> None:
    message = messages.image_message(np.zeros((2, 3), dtype=np.uint8), STAMP, "camera")
    data = messages.typestore().serialize_cdr(message, messages.IMAGE, little_endian=little_endian)
    assert messages.header_stamp(bytes(data)) == STAMP


def test_mount_is_that_of_the_recording(bag: Path) -> None:
    with BagReader(bag) as reader:
        found = StaticTransforms.read(reader).find("base_link", reader.camera_frame)
    assert found is not None
    np.testing.assert_allclose(found.rotation, so3.exp(np.array([0.4, -1.1, 0.7])), atol=1e-12)
    np.testing.assert_allclose(found.translation, [0.3, -0.2, 0.5], atol=1e-12)

"""Masks that reach the node on a topic."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from moving_texture import HEIGHT, WIDTH
from node_bench import Drive
from sensor_msgs.msg import Image

MASKED = "image masked [%]"


def mask_message(header, height=HEIGHT):
    """The left quarter of an image is ignored."""
    pixels = np.zeros((height, WIDTH), np.uint8)
    pixels[:, : WIDTH // 4] = 255
    return Image(
        header=header, height=height, width=WIDTH, encoding="mono8", step=WIDTH, data=pixels.tobytes()
    )


@pytest.fixture
def show(bench):
    """Shows an image of a moving camera, whose mask (of a height in pixels) is sent first."""
    masks, drive = bench.node.create_publisher(Image, "/mask", 5), Drive(bench)

    def call(height=HEIGHT):
        image, info = drive.messages()
        masks.publish(mask_message(image.header, height))
        return bench.show(image, info)

    yield call
    bench.node.destroy_publisher(masks)


def test_masks_are_used_and_their_share_is_in_the_diagnostics(bench, start_node, show):
    node = start_node(parameters={"assume_identity_mount": True, "mask_policy": "synchronised"})
    bench.record("/diagnostics", DiagnosticArray)
    bench.wait_for_node()
    for _ in range(10):
        state = show()
    assert state.state == state.TRACKING
    assert bench.received("/vo_node/odometry")

    def masked(array):
        values = {pair.key: pair.value for pair in array.status[0].values}
        return values.get(MASKED) == "25.0"

    bench.wait_for("/diagnostics", masked)
    assert node.stop() == 0


def test_a_mask_of_another_size_is_an_error_that_says_so(bench, start_node, show):
    node = start_node(parameters={"assume_identity_mount": True, "mask_policy": "synchronised"})
    bench.wait_for_node()
    show()
    for _ in range(3):
        state = show(height=HEIGHT // 2)
    assert f"mask has {WIDTH}x{HEIGHT // 2} pixels, but the image has {WIDTH}x{HEIGHT}" in state.reason
    assert state.frames_dropped_invalid >= 1
    assert node.stop() == 0


def test_an_unreadable_mask_file_fails_to_configure(bench, start_node):
    node = start_node(parameters={"assume_identity_mount": True, "mask_file": "/nowhere/mask.png"})
    state = bench.wait_for_reason("mask_file /nowhere/mask.png does not exist")
    assert state.state == state.INITIALIZING
    assert node.stop() == 0

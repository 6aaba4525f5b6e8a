"""Compressed, rectified images whose camera_info comes with another stamp."""

from __future__ import annotations

import cv2
import numpy as np
from moving_texture import K, view
from node_bench import CAMERA_FRAME, camera_info, set_stamp
from sensor_msgs.msg import CompressedImage

PERIOD = 50_000_000


def compressed(pixels, extension):
    """CompressedImage of RGB pixels."""
    written, data = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert written
    message = CompressedImage(format=f"rgb8; {extension[1:]} compressed bgr8", data=data.tobytes())
    message.header.frame_id = CAMERA_FRAME
    return message


def rectified_info(stamp):
    """camera_info of which only P can be used."""
    info = camera_info(stamp)
    info.p = np.insert(np.array(K), [3, 6, 9], 0.0)
    info.k = np.zeros(9)
    info.d = [float("nan")] * 5
    return info


def test_png_and_jpeg_images_are_tracked(bench, start_node):
    node = start_node(
        parameters={
            "image_transport": "compressed",
            "image_is_rectified": True,
            "sync_slop": 0.01,
            "assume_identity_mount": True,
            "publish_tf": False,
        }
    )
    camera = bench.node.create_publisher(CompressedImage, "/image/compressed", 5)
    bench.wait_for_node("/image/compressed")
    for index in range(10):
        stamp = 1_700_000_000_000_000_000 + index * PERIOD
        image = compressed(view(0.08 * index), (".png", ".jpg")[index % 2])
        set_stamp(image, stamp)
        state = bench.show(image, rectified_info(stamp + 3_000_000), camera)
    assert state.state == state.TRACKING
    assert len(bench.received("/vo_node/odometry")) >= 1
    assert bench.received("/tf") == []
    assert bench.node.count_publishers("/tf") == 0
    bench.node.destroy_publisher(camera)
    assert node.stop() == 0

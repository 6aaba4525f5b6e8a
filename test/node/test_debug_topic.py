"""~/debug_image is drawn while somebody looks, and shows where the network found the keyframe again."""

from __future__ import annotations

import numpy as np
import pytest
from node_bench import Drive, stamp_of
from sensor_msgs.msg import Image

from iup_pose_ros.weights import SHIPPED_WEIGHTS

TOPIC = "/vo_node/debug_image"


@pytest.mark.skipif(not SHIPPED_WEIGHTS.is_file(), reason="the network's weights are not installed")
def test_pictures_of_keyframes_show_attention(bench, start_node):
    start_node(parameters={"estimator": "iup_pose", "assume_identity_mount": True, "keyframe_interval": 0.1})
    bench.wait_for_node()
    drive = Drive(bench)
    drive.show(5)
    subscription = bench.record(TOPIC, Image)
    bench.wait_for_publisher(TOPIC)
    drive.show(20)
    bench.wait_for(TOPIC, lambda image: stamp_of(image) == drive.stamp)
    keyframes = {stamp_of(edge) for edge in bench.received("/vo_node/keyframe_edge")}
    colour: dict[bool, list[float]] = {True: [], False: []}
    for picture in bench.received(TOPIC):
        pixels = np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)
        lower = pixels[picture.height // 2 :].astype(int)
        colour[stamp_of(picture) in keyframes].append(np.ptp(lower, axis=2).mean())
    bench.node.destroy_subscription(subscription)
    assert len(colour[True]) >= 5
    assert len(colour[False]) >= 1
    assert np.median(colour[True]) > 2.0 * np.median(colour[False])

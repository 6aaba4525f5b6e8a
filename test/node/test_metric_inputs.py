"""Steps in metres from depth images and a range sensor over DDS; the camera moves 8 cm per image."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from child_node import wait_until
from diagnostic_msgs.msg import DiagnosticArray
from moving_texture import DEPTHS, HEIGHT, WIDTH
from node_bench import CAMERA_FRAME, PERIOD, Drive, set_stamp
from sensor_msgs.msg import CompressedImage, Image, Range

from iup_pose_ros.stamps import nanoseconds

STEP = 0.08
# base_link <- camera_optical: x forward is the optical axis.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def depth_values(scale: float) -> np.ndarray:
    """Depths of the three bands of wall times ``scale``, with a hole."""
    rows = np.arange(HEIGHT) * len(DEPTHS) // HEIGHT
    values = np.repeat(np.array(DEPTHS)[rows][:, None] * scale, WIDTH, axis=1)
    values[:, :60] = 0.0
    return values


def depth_message(stamp: int, encoding: str, width: int = WIDTH) -> Image:
    """Depth image of a stamp, 16UC1 in millimetres or 32FC1 in metres."""
    is_metres = encoding == "32FC1"
    values = depth_values(1.0 if is_metres else 1000.0)[:, :width]
    data = values.astype(np.float32 if is_metres else np.uint16)
    message = Image(height=HEIGHT, width=width, encoding=encoding, step=width * data.itemsize)
    message.header.frame_id = CAMERA_FRAME
    set_stamp(message, stamp)
    message.data = data.tobytes()
    return message


def compressed_depth(stamp: int) -> CompressedImage:
    """Depth image as compressed_depth_image_transport sends it: a header, then a PNG of 16 bits."""
    content = cv2.imencode(".png", depth_values(1000.0).astype(np.uint16))[1].tobytes()
    message = CompressedImage(format="16UC1; compressedDepth png")
    set_stamp(message, stamp)
    message.data = struct.pack("<iff", 0, 0.0, 0.0) + content
    return message


def range_message(stamp: int, value: float = DEPTHS[1]) -> Range:
    """Distance to the middle band of wall, from the camera's place."""
    message = Range(min_range=0.1, max_range=10.0, range=value, field_of_view=0.05)
    message.header.frame_id = "base_link"
    set_stamp(message, stamp)
    return message


class MetricDrive(Drive):
    """The camera with a sensor whose messages precede the images of their stamp."""

    def __init__(self, bench, kind, topic):
        super().__init__(bench)
        self.sensor = bench.node.create_publisher(kind, topic, 20)
        bench.wait_for_node()
        bench.mount_camera(OPTICAL, (0.0, 0.0, 0.0))
        wait_until(
            lambda: self.sensor.get_subscription_count() > 0, 30.0, lambda: f"nobody listens to {topic}"
        )

    def drive(self, images, create):
        """Tracking states of so many images, each after the message that ``create`` makes of its stamp."""
        states = []
        for _ in range(images):
            if create is not None:
                self.sensor.publish(create(self.stamp + PERIOD))
            states += self.show(1)
        return states


def lengths_per_image(edges):
    """Length of the edges per image, metres."""
    lengths = []
    for edge in edges:
        images = (nanoseconds(edge.header.stamp) - nanoseconds(edge.previous_stamp)) / PERIOD
        position = edge.pose.pose.position
        lengths.append(float(np.linalg.norm([position.x, position.y, position.z])) / images)
    return np.array(lengths)


@pytest.mark.parametrize(
    ("parameters", "kind", "topic", "create"),
    [
        ({"scale_source": "depth"}, Image, "/depth", lambda stamp: depth_message(stamp, "16UC1")),
        ({"scale_source": "depth"}, Image, "/depth", lambda stamp: depth_message(stamp, "32FC1")),
        (
            {"scale_source": "depth", "depth_transport": "compressedDepth"},
            CompressedImage,
            "/depth/compressedDepth",
            compressed_depth,
        ),
        ({"scale_source": "range"}, Range, "/range", range_message),
    ],
    ids=["16UC1", "32FC1", "compressedDepth", "range"],
)
def test_steps_are_metres(bench, start_node, parameters, kind, topic, create):
    node = start_node(parameters={**parameters, "publish_tf": False})
    bench.clear()
    drive = MetricDrive(bench, kind, topic)
    states = drive.drive(20, create)
    edges = bench.received("/vo_node/keyframe_edge")
    assert (states[-1].state, states[-1].reason) == (1, ""), node.log
    assert len(edges) >= 3
    assert {edge.metric for edge in edges} == {True}
    assert {edge.scale_source for edge in edges} <= {
        parameters["scale_source"],
        f"{parameters['scale_source']} (known depths)",
    }
    np.testing.assert_allclose(lengths_per_image(edges), STEP, rtol=0.06)
    assert node.stop() == 0
    bench.node.destroy_publisher(drive.sensor)


def test_what_is_missing_is_said_before_and_after_the_first_length(bench, start_node):
    node = start_node(parameters={"scale_source": "depth", "scale_timeout": 0.3, "publish_tf": False})
    bench.clear()
    bench.record("/diagnostics", DiagnosticArray)
    drive = MetricDrive(bench, Image, "/depth")
    assert any("no depth image received" in state.reason for state in drive.drive(6, None)), node.log
    small = drive.drive(6, lambda stamp: depth_message(stamp, "16UC1", WIDTH - 20))
    assert any("depth image has 300x240 pixels, but the image has 320x240" in each.reason for each in small)
    assert bench.received("/vo_node/keyframe_edge") == []
    assert drive.drive(10, lambda stamp: depth_message(stamp, "16UC1"))[-1].state == 1, node.log
    states = drive.drive(16, None)
    assert states[-1].state == 1
    assert "no length in metres was measured for" in states[-1].reason
    edges = bench.received("/vo_node/keyframe_edge")
    assert edges[0].metric
    assert (edges[-1].metric, edges[-1].scale_source) == (False, "depth (carried on)")
    np.testing.assert_allclose(lengths_per_image(edges), STEP, rtol=0.1)
    bench.wait_for(
        "/diagnostics",
        lambda message: any(
            "no length in metres was measured" in status.message for status in message.status
        ),
    )
    assert node.stop() == 0

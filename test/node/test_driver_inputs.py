"""What real drivers send to the node: camera_info that is rare, frozen images, frames of a camera's body."""

from __future__ import annotations

import time

import pytest
from child_node import wait_until
from iup_pose_msgs.msg import TrackingState
from moving_texture import view
from node_bench import PERIOD, START, camera_info, image_message


def messages(index, frame_id="camera_optical"):
    """Image and camera_info of a camera that moves evenly."""
    image, info = (
        image_message(view(0.08 * index), START + PERIOD * index),
        camera_info(START + PERIOD * index),
    )
    image.header.frame_id = info.header.frame_id = frame_id
    return image, info


class Stream:
    """Publishes images of the moving camera, 10 per second, with or without camera_info."""

    def __init__(self, bench):
        self.bench = bench
        self.index = 0

    def send(self, with_info=True, pixels=None):
        """The next image; pixels in place of its own where given."""
        image, info = messages(self.index)
        self.index += 1
        if pixels is not None:
            image.data = pixels
        if with_info:
            self.bench.infos.publish(info)
        self.bench.images.publish(image)
        time.sleep(0.1)

    def send_until(self, condition, **options):
        """Images until the states meet a condition."""

        def met():
            self.send(**options)
            return any(condition(state) for state in self.bench.states())

        wait_until(met, 30.0, lambda: f"{self.bench.states()[-3:]}")


@pytest.fixture
def stream(bench):
    """A stream whose first image the node has received."""

    def begin(node):
        bench.clear()
        running = Stream(bench)
        running.send_until(lambda state: state.frames_received > 0)
        assert "Traceback" not in node.log
        return running

    return begin


@pytest.mark.parametrize("every", [4, 10_000], ids=["every fourth image", "never again"])
def test_the_last_camera_info_is_held_where_it_is_rarer_than_images(start_node, bench, stream, every):
    node = start_node(parameters={"assume_identity_mount": True})
    running = stream(node)
    for index in range(30):
        running.send(with_info=(index + 1) % every == 0)
    bench.clear()
    running.send_until(lambda state: state.state == TrackingState.TRACKING, with_info=False)
    assert "has a lower rate than the images: the last one is used for every image" in node.log
    assert node.stop() == 0  # a node that is killed counts as a subscriber for 20 s


def test_a_picture_that_is_sent_again_and_again_is_said_after_the_timeout(start_node, bench, stream):
    node = start_node(parameters={"assume_identity_mount": True, "input_timeout": 1.0})
    running = stream(node)
    running.send_until(lambda state: state.state == TrackingState.TRACKING)
    picture = image_message(view(0.08 * running.index), 0).data
    bench.clear()
    running.send_until(lambda state: "pixels have not changed for" in state.reason, pixels=picture)
    state = bench.wait_for_reason("pixels have not changed")
    assert state.state == TrackingState.LOST
    assert state.frames_dropped_invalid > 5
    assert node.stop() == 0


def test_images_in_the_frame_of_the_cameras_body_are_named(start_node, bench):
    node = start_node(parameters={"base_frame": "camera_link"})
    bench.wait_for_node()
    bench.show(*messages(0, "camera_link"))
    node.wait_for_log("frame 'camera_link' of the images seems not to be an optical frame")

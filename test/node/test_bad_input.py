"""Bad input is named in the tracking state, nothing else is published from it, and the node goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from child_node import wait_until
from iup_pose_msgs.msg import TrackingState
from moving_texture import view
from node_bench import OUTPUTS, camera_info, image_message, set_stamp
from std_srvs.srv import Trigger

from iup_pose_ros.stamps import nanoseconds

PERIOD = 50_000_000


class Camera:
    """Takes the next image of the moving camera, in order."""

    def __init__(self, bench):
        self.bench = bench
        self.stamp = 1_700_000_000_000_000_000
        self.position = 0.0

    def take(self):
        """The next image and its camera_info."""
        self.stamp += PERIOD
        self.position += 0.08
        return image_message(view(self.position), self.stamp), camera_info(self.stamp)

    def show_good(self, number):
        """Tracking states of so many good images."""
        return [self.bench.show(*self.take()) for _ in range(number)]

    def recover(self):
        """Shows good images until the node tracks."""
        for _ in range(20):
            state = self.bench.show(*self.take())
            if state.state == TrackingState.TRACKING and not state.reason:
                return
        raise AssertionError(f"the node does not track good images: {state}")


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(parameters={"input_timeout": 0.5, "mount_timeout": 0.1})


@pytest.fixture(scope="module")
def camera(bench, node):
    bench.mount_camera((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    bench.wait_for_node()
    return Camera(bench)


@pytest.fixture
def tracking_camera(camera):
    """A camera whose good images the node tracks."""
    camera.recover()
    return camera


def published_stamps(bench):
    """Stamps of everything published with the stamp of an image: all but the tracking state and the twist."""
    stamps = set()
    for topic in set(OUTPUTS) - {"/vo_node/twist"}:
        for message in bench.received(topic):
            header = message.transforms[0].header if topic == "/tf" else message.header
            stamps.add(nanoseconds(header.stamp))
    return stamps


def break_k(image, info):
    info.k = np.zeros(9)


def break_size(image, info):
    info.width, info.height = 640, 480


def break_d(image, info):
    info.d = [float("nan"), 0.0, 0.0, 0.0, 0.0]


def break_model(image, info):
    info.distortion_model, info.d = "thin_prism", [0.1]


def break_encoding(image, info):
    image.encoding = "yuv411"


def break_step(image, info):
    image.step = 3 * image.width - 1


def break_data(image, info):
    image.data = b""


def break_end(image, info):
    image.data = bytes(image.data)[:-1000]


def break_frame(image, info):
    image.header.frame_id = ""


def break_camera(image, info):
    image.header.frame_id = "other_camera"


def break_stamp(image, info):
    stamp = nanoseconds(image.header.stamp) - 500_000_001
    set_stamp(image, stamp)
    set_stamp(info, stamp)


BAD = {
    "K all zero": (break_k, "camera matrix K is all zero"),
    "K of another image size": (break_size, "640x480 pixels, but the image has 320x240"),
    "NaN in D": (break_d, "not finite"),
    "unknown distortion model": (break_model, "'thin_prism' is not known"),
    "unknown encoding": (break_encoding, "image encoding 'yuv411'"),
    "step shorter than a row": (break_step, "step 959, shorter than a row of 960 bytes"),
    "no data": (break_data, "has no data"),
    "too little data": (break_end, "229400 bytes of data"),
    "no frame_id": (break_frame, "no frame_id"),
    "image of another camera": (break_camera, "but the image has 'other_camera'"),
    "stamp that goes back": (break_stamp, "non-monotonic timestamp"),
}


@pytest.mark.parametrize(("damage", "words"), BAD.values(), ids=BAD)
def test_bad_image_is_named_and_the_next_good_one_works(tracking_camera, bench, damage, words):
    good = bench.states()[-1]
    image, info = tracking_camera.take()
    damage(image, info)
    state = bench.show(image, info)
    assert words in state.reason
    assert state.frames_dropped_invalid == good.frames_dropped_invalid + 1
    assert state.frames_processed == good.frames_processed
    edges = len(bench.received("/vo_node/keyframe_edge"))

    def has_new_edge():
        tracking_camera.recover()
        return len(bench.received("/vo_node/keyframe_edge")) > edges

    wait_until(has_new_edge, 30.0, lambda: f"no keyframe follows the bad image: {bench.states()[-1]}")
    assert nanoseconds(image.header.stamp) not in published_stamps(bench)


def test_only_unusable_images_count_as_lost(tracking_camera, bench):
    image, info = tracking_camera.take()
    break_data(image, info)
    assert bench.show(image, info).state == TrackingState.LOST


def test_negative_stamps_are_ignored(tracking_camera, bench, node):
    """message_filters raises an exception for them."""
    image, info = tracking_camera.take()
    image.header.stamp.sec = info.header.stamp.sec = -5
    bench.infos.publish(info)
    bench.images.publish(image)
    tracking_camera.recover()
    assert "unexpected" not in node.log


def test_a_mount_that_changes_is_an_error_until_it_returns_or_a_reset(tracking_camera, bench):
    words = "transform base_link <- camera_optical has changed by 20.0 deg and 0.30 m since the first image"
    turned = (0.0, 0.0, np.sin(np.radians(10.0)), np.cos(np.radians(10.0)))

    def shows_the_change():
        return words in bench.show(*tracking_camera.take()).reason

    bench.mount_camera(turned, (0.3, 0.0, 0.0))
    wait_until(shows_the_change, 20.0, lambda: f"{bench.states()[-1]}")
    bench.clear()
    assert {state.state for state in tracking_camera.show_good(6)} == {TrackingState.LOST}
    assert published_stamps(bench) == set()

    bench.mount_camera((0.0, 0.0, 0.02, 1.0), (0.01, 0.0, 0.0))
    wait_until(lambda: not shows_the_change(), 20.0, lambda: f"{bench.states()[-1]}")
    tracking_camera.recover()

    bench.mount_camera(turned, (0.31, 0.0, 0.0))
    wait_until(lambda: "call ~/reset" in bench.show(*tracking_camera.take()).reason, 20.0, lambda: "no error")
    assert bench.call(Trigger, "reset", Trigger.Request()).success
    tracking_camera.recover()
    bench.mount_camera((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    wait_until(lambda: "call ~/reset" in bench.show(*tracking_camera.take()).reason, 20.0, lambda: "no error")
    assert bench.call(Trigger, "reset", Trigger.Request()).success


def test_errors_of_a_bad_stream_are_throttled(tracking_camera, bench, node):
    before, begin = node.log.count("ERROR"), time.monotonic()
    for _ in range(20):
        image, info = tracking_camera.take()
        break_encoding(image, info)
        bench.show(image, info)
    periods = (time.monotonic() - begin) / 5.0  # of throttling
    assert node.log.count("ERROR") <= before + 2 + periods


def test_camera_info_that_ends_is_held_and_named(tracking_camera, bench, node):
    for _ in range(25):
        bench.images.publish(tracking_camera.take()[0])
        time.sleep(0.05)
    bench.clear()

    def tracking():
        bench.images.publish(tracking_camera.take()[0])
        time.sleep(0.05)
        return any(state.state == TrackingState.TRACKING for state in bench.states())

    wait_until(tracking, 20.0, lambda: f"{bench.states()}")
    node.wait_for_log("has a lower rate than the images: the last one is used for every image")


def test_stamps_that_never_match_are_named(tracking_camera, bench):
    bench.clear()

    def named():
        image, info = tracking_camera.take()
        set_stamp(info, nanoseconds(info.header.stamp) + 1000)
        bench.images.publish(image)
        bench.infos.publish(info)
        time.sleep(0.05)
        return any("sync_slop" in state.reason for state in bench.states())

    wait_until(named, 20.0, lambda: f"{bench.states()}")


def test_bag_that_starts_again_is_followed_though_camera_infos_were_lost(tracking_camera, bench):
    for _ in range(12):
        bench.images.publish(tracking_camera.take()[0])
    tracking_camera.stamp -= 60_000_000_000
    tracking_camera.recover()


def test_message_that_is_no_message_does_not_end_the_node(tracking_camera, bench, node):
    bench.images.publish(b"\x00\x01\x00\x00 not an image")
    bench.infos.publish(b"\x00\x01\x00\x00" + b"\xff" * 64)
    tracking_camera.recover()
    assert node.process.poll() is None


def test_every_image_was_counted_once(tracking_camera, bench):
    state = bench.states()[-1]
    ends = state.frames_processed + state.frames_dropped_busy + state.frames_dropped_invalid
    assert state.frames_received == ends

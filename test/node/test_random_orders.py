"""Requests in any order and messages with any values, between good images, leave a node that works.

`make fuzz` sets FUZZ=1: ten orders of a minute each, and 5,000 messages.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time

import numpy as np
import pytest
from child_node import wait_until
from iup_pose_msgs.msg import TrackingState
from iup_pose_msgs.srv import SaveTrajectory
from node_bench import LIFE_CYCLE, Drive
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from iup_pose_ros.node.settings import PARAMETERS

SEEDS, SECONDS, MESSAGES = (10, 60.0, 5_000) if os.environ.get("FUZZ") else (1, 10.0, 60)
RATE = 20.0
NUMBERS = (0, 1, 2, 15, 320, 640, 65_535, 2**31 - 1)
FLOATS = (0.0, -1.0, 1e-300, 1e300, math.nan, math.inf, -math.inf, 260.0)
ENCODINGS = ("", "mono8", "mono16", "32FC1", "bayer_rggb8", "nv12", "16UC3", "jpeg", "\N{SNOWMAN}")


class Stream:
    """Sends images in a thread of its own until it is told to end."""

    def __init__(self, bench):
        self._ended = threading.Event()
        self._drive = Drive(bench)
        self._drive.stamp = time.time_ns()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    def _send(self):
        while not self._ended.wait(1.0 / RATE):
            image, info = self._drive.messages()
            self._drive.bench.infos.publish(info)
            self._drive.bench.images.publish(image)


@pytest.fixture
def node(bench, start_node, tmp_path):
    bench.clear()
    parameters = {"assume_identity_mount": True, "input_timeout": 0.5, "output_directory": str(tmp_path)}
    return start_node(parameters=parameters)


def orders(bench, rng):
    """Something that can be asked of the node, chosen at random."""
    return rng.choice(
        [
            lambda: bench.call(Trigger, "reset", Trigger.Request()),
            lambda: bench.call(SetBool, "pause", SetBool.Request(data=rng.random() < 0.5)),
            lambda: bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request()),
            lambda: bench.set_parameters(
                keyframe_parallax=rng.uniform(0.01, 0.1),
                publish_tf=rng.random() < 0.5,
                input_timeout=rng.uniform(0.2, 1.0),
                path_length=rng.randrange(2, 50),
            ),
            lambda: bench.bring_to(rng.choice(LIFE_CYCLE)),
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_order_of_requests_leaves_a_node_that_works(bench, node, seed):
    rng = random.Random(seed)
    bench.bring_to("active")
    with Stream(bench):
        end = time.monotonic() + SECONDS
        count = 0
        while time.monotonic() < end:
            orders(bench, rng)()
            count += 1
            time.sleep(rng.choice([0.0, 0.05, 0.3]))
        bench.bring_to("active")
        assert bench.call(SetBool, "pause", SetBool.Request(data=False)).success
        bench.set_parameters(keyframe_parallax=0.02, publish_tf=True)
        threads = node.threads()
        bench.bring_to("unconfigured")
        bench.bring_to("active")
        bench.clear()
        wait_until(
            lambda: any(state.state == TrackingState.TRACKING for state in bench.states()),
            30.0,
            lambda: f"{bench.states()[-3:]}",
        )
        assert node.threads() == threads
        time.sleep(rng.uniform(0.0, 0.2))
        assert bench.change_state("active_shutdown")
    assert node.stop() == 0
    assert "Traceback" not in node.log
    assert "unexpected" not in node.log
    assert count > 5


def change_image(rng, image):
    """Give one field of an image any value."""
    field = rng.choice(["encoding", "width", "height", "step", "data", "is_bigendian", "stamp", "frame_id"])
    if field == "encoding":
        image.encoding = rng.choice(ENCODINGS)
    elif field == "data":
        image.data = image.data[: rng.randrange(len(image.data))]
    elif field == "stamp":
        image.header.stamp.sec = rng.randrange(-(2**31), 2**31)
    elif field == "frame_id":
        image.header.frame_id = rng.choice(["", "/", "camera_left"])
    else:
        setattr(image, field, rng.randrange(2) if field == "is_bigendian" else rng.choice(NUMBERS))


def change_info(rng, info):
    """Give one field of a camera_info any value."""
    field = rng.choice(["width", "height", "binning_x", "distortion_model", "d", "k", "roi"])
    if field == "distortion_model":
        info.distortion_model = rng.choice(["", "equidistant", "rational_polynomial", "\N{SNOWMAN}"])
    elif field == "d":
        info.d = [rng.choice(FLOATS) for _ in range(rng.randrange(15))]
    elif field == "k":
        k = np.array(info.k)
        k[rng.randrange(9)] = rng.choice(FLOATS)
        info.k = k
    elif field == "roi":
        info.roi.width, info.roi.height, info.roi.x_offset = (rng.choice(NUMBERS) for _ in range(3))
    else:
        setattr(info, field, rng.choice(NUMBERS))


def any_parameter(rng):
    """A parameter of the node, or an unknown one, with a value of any type."""
    value = rng.choice(
        [
            ParameterValue(type=1, bool_value=rng.random() < 0.5),
            ParameterValue(type=2, integer_value=rng.choice(NUMBERS)),
            ParameterValue(type=3, double_value=rng.choice(FLOATS)),
            ParameterValue(type=4, string_value=rng.choice(["", "nan", "\N{SNOWMAN}" * 99])),
            ParameterValue(type=8, double_array_value=list(FLOATS)),
            ParameterValue(),
        ]
    )
    return Parameter(name=rng.choice([*PARAMETERS, "no_such_parameter"]), value=value)


def test_any_values_in_messages_leave_a_node_that_works(bench, node):
    rng = random.Random(0)
    bench.start_afresh()
    drive = Drive(bench)
    masks = bench.node.create_publisher(Image, "/mask", 5)
    drive.show(8)
    for _ in range(MESSAGES):
        image, info = drive.messages()
        mask = Image(header=image.header, height=240, width=320, encoding="mono8", step=320)
        mask.data = bytes(320 * 240)
        changed = rng.choice(["image", "info", "mask", "parameter", "none"])
        if changed == "parameter":
            request = SetParameters.Request(parameters=[any_parameter(rng)])
            assert bench.call(SetParameters, "set_parameters", request).results
        elif changed == "info":
            change_info(rng, info)
        elif changed != "none":
            change_image(rng, mask if changed == "mask" else image)
        masks.publish(mask)
        bench.infos.publish(info)
        bench.images.publish(image)
        time.sleep(0.02)
        assert node.process.poll() is None, node.log
    defaults = {name: item.default for name, item in PARAMETERS.items() if item.at_run_time}
    assert all(result.successful for result in bench.set_parameters(**defaults))
    check_odometry(bench.received("/vo_node/odometry"))
    bench.clear()

    def tracks():
        state = drive.show(1)[0]
        return state.state == TrackingState.TRACKING and not state.reason

    wait_until(tracks, 30.0, lambda: f"{bench.states()[-1]}")
    bench.node.destroy_publisher(masks)
    assert [line for line in node.log.splitlines() if "unexpected" in line] == []


def check_odometry(messages):
    """Fails if a pose or its covariance is not one."""
    assert messages
    for message in messages:
        pose = message.pose.pose
        np.testing.assert_allclose(
            np.linalg.norm([getattr(pose.orientation, axis) for axis in "xyzw"]), 1.0, atol=1e-6
        )
        assert np.isfinite([getattr(pose.position, axis) for axis in "xyz"]).all()
        np.linalg.cholesky(np.reshape(message.pose.covariance, (6, 6)))

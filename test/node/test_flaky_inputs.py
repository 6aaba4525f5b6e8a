"""Drivers that die, and images that are lost, repeated, late or of another kind: the node tracks again."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from child_node import NODE, wait_until
from diagnostic_msgs.msg import DiagnosticArray
from iup_pose_msgs.msg import TrackingState
from iup_pose_msgs.srv import SaveTrajectory
from moving_texture import view
from nav_msgs.msg import Odometry
from node_bench import Drive, image_message, stamp_of

from iup_pose_ros.bags.trajectory_io import read_tum

HOUR = 3_600 * 10**9
CAMERA_PROCESS = Path(__file__).with_name("camera_process.py")
ODOMETRY = "/vo_node/odometry"


@pytest.fixture(scope="module")
def node(start_module_node, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    node = start_module_node(
        parameters={"assume_identity_mount": True, "input_timeout": 0.5, "output_directory": str(output)}
    )
    node.output = output
    return node


@pytest.fixture
def drive(bench, node):
    """A camera that the node tracks, at a later time than that of the test before."""
    bench.wait_for_node()
    running = Drive(bench)
    running.stamp = time.time_ns()
    recover(running)
    bench.clear()
    return running


def recover(drive):
    """Images until the node tracks."""

    def tracks():
        state = drive.show(1)[0]
        return state.state == TrackingState.TRACKING and not state.reason

    wait_until(tracks, 30.0, lambda: f"{drive.bench.states()[-1]}")


def check_stamps_increase(bench):
    stamps = [stamp_of(message) for message in bench.received(ODOMETRY)]
    assert stamps == sorted(set(stamps))


def test_a_camera_that_is_killed_and_returns(bench, node, drive, domain_id):
    bench.record("/diagnostics", DiagnosticArray)

    def start(position):
        command = [sys.executable, str(CAMERA_PROCESS), str(position)]
        return subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)})

    def is_tracked():
        return any(state.state == TrackingState.TRACKING for state in bench.states())

    cameras = [start(0.0)]
    try:
        wait_until(is_tracked, 60.0, lambda: f"{bench.states()[-1:]}")
        cameras[0].kill()
        bench.wait_for("/diagnostics", lambda message: message.status[0].message.startswith("no image for"))
        bench.clear()
        cameras.append(start(30.0))
        wait_until(is_tracked, 60.0, lambda: f"{bench.states()[-1:]}")
        check_stamps_increase(bench)
    finally:
        for camera in cameras:
            camera.kill()
            camera.wait()


def test_images_that_are_lost_repeated_reordered_and_late(bench, node, drive):
    rng = random.Random(4)
    waiting = []
    for index in range(80):
        image, info = drive.messages()
        fate = rng.choice(["lost", "repeated", "swapped", "late"]) if rng.random() < 0.4 else "sent"
        # A swapped image comes after the next one, a late one after a second.
        delay = {"swapped": 1, "late": 20}.get(fate, 0)
        if fate != "lost":
            waiting += [
                (index + delay, number, image, info) for number in range(2 if fate == "repeated" else 1)
            ]
        for due in [item for item in waiting if item[0] <= index]:
            waiting.remove(due)
            bench.show(*due[2:])
    recover(drive)
    check_stamps_increase(bench)
    states = bench.states()
    last = states[-1]
    ends = last.frames_processed + last.frames_dropped_busy + last.frames_dropped_invalid
    assert last.frames_received == ends
    assert sum("non-monotonic" in state.reason for state in states) > 10
    tracked = sum(state.state == TrackingState.TRACKING for state in states)
    assert tracked > 0.8 * len(states), [state.reason for state in states if state.reason]


def test_a_resolution_that_changes(bench, node, drive):
    for scale in (0.5, 1.0):
        for _ in range(16):
            image, info = drive.messages()
            pixels = cv2.resize(view(drive.position), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            image = image_message(pixels, drive.stamp)
            info.width, info.height = image.width, image.height
            info.k = scale * np.array(info.k)
            info.k[8] = 1.0
            state = bench.show(image, info)
        assert state.state == TrackingState.TRACKING, state.reason
        assert any("the camera or its calibration changed" in state.reason for state in bench.states())
        bench.clear()


def test_an_encoding_that_changes(bench, node, drive):
    for encoding in ("mono8", "bgr8", "rgb8"):
        for _ in range(8):
            image, info = drive.messages()
            if encoding == "mono8":
                image.step, image.data = 320, np.ascontiguousarray(view(drive.position)[..., 0]).tobytes()
            image.encoding = encoding
            state = bench.show(image, info)
        assert state.state == TrackingState.TRACKING, (encoding, state)


def test_stamps_that_jump_an_hour_ahead_and_back(bench, node, drive):
    for jump in (HOUR, -HOUR):
        drive.stamp += jump
        recover(drive)
        before = len(bench.received(ODOMETRY))
        drive.show(12)
        assert len(bench.received(ODOMETRY)) > before


def test_a_disk_that_is_full_leaves_the_file_whole(bench, node, drive):
    drive.show(12)
    first = bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request(filename="a.tum"))
    assert first.success, first
    drive.show(12)
    limits = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        refused = [
            bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request(filename=name))
            for name in ("a.tum", "b.tum")
        ]
    finally:
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, limits)
    for answer in refused:
        assert not answer.success
        assert "cannot be written: File too large" in answer.message
    assert [file.name for file in node.output.iterdir()] == ["a.tum"]
    assert len(read_tum(node.output / "a.tum").stamps) == first.poses
    assert bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request(filename="a.tum")).success


def test_a_second_node_of_the_same_name_is_named(bench, node, drive, start_node):
    other = start_node(parameters={"assume_identity_mount": True})
    bench.wait_for_nodes(2)
    words = "node /vo_node broadcasts odom -> base_link, and this node odom -> base_link"

    def named():
        image, info = drive.messages()
        bench.infos.publish(info)
        bench.images.publish(image)
        time.sleep(0.05)
        return words in node.log and words in other.log

    wait_until(named, 30.0, lambda: f"{node.log[-2000:]}\n{other.log[-2000:]}")
    assert other.stop() == 0
    bench.wait_for_node()
    recover(drive)


def test_a_second_node_of_another_name_tracks_too_and_the_shared_frame_is_named(
    bench, node, drive, start_node
):
    names = ("vo_node", "vo_rear")
    for topic, message_type in (("tracking_state", TrackingState), ("odometry", Odometry)):
        bench.record(f"/vo_rear/{topic}", message_type)
    bench.record("/diagnostics", DiagnosticArray)
    rear = start_node(
        command=(*NODE, "--ros-args", "-r", "__node:=vo_rear"), parameters={"assume_identity_mount": True}
    )
    conflict = "node /{} broadcasts odom -> base_link, and this node odom -> base_link"
    words = dict(zip(names, map(conflict.format, reversed(names)), strict=True))

    def named():
        # Image by image, so that none is dropped; the first ones may be lost before both sides matched.
        drive.show(1)
        with contextlib.suppress(AssertionError):
            bench.wait_for(
                "/vo_rear/tracking_state", lambda state: stamp_of(state) == drive.stamp, timeout=1.0
            )
        said = [message.status[0] for message in bench.received("/diagnostics")]
        return all(
            any(status.name.startswith(name) and text in status.message for status in said)
            for name, text in words.items()
        )

    wait_until(named, 120.0, lambda: f"{node.log[-2000:]}\n{rear.log[-2000:]}")
    assert words["vo_node"] in node.log
    assert words["vo_rear"] in rear.log
    # Both publish the motion under their own names.
    for name in names:
        assert bench.received(f"/{name}/tracking_state")[-1].state == TrackingState.TRACKING
        stamps = [stamp_of(message) for message in bench.received(f"/{name}/odometry")]
        assert len(stamps) > 0
        assert stamps == sorted(set(stamps))
    assert rear.stop() == 0

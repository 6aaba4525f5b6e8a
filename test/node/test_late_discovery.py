"""Node and camera that meet ten seconds late, whichever starts first: the node tracks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_node import NODE
from iup_pose_msgs.msg import TrackingState
from node_bench import STATE_TOPIC

LATE = 10.0
CAMERA_PROCESS = Path(__file__).with_name("camera_process.py")
# Not the topics of the bench, whose publishers exist from the start.
REMAPPED = ("--ros-args", "-r", "image:=/late/image", "-r", "camera_info:=/late/camera_info")


@pytest.fixture
def start_camera(domain_id):
    """Function that starts a camera; the process is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start():
        command = [sys.executable, str(CAMERA_PROCESS), "0.0", *REMAPPED]
        started.append(subprocess.Popen(command, env={**os.environ, "ROS_DOMAIN_ID": str(domain_id)}))

    yield start
    for camera in started:
        camera.kill()
        camera.wait()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["node", "camera"])
def test_a_camera_and_a_node_that_meet_after_ten_seconds(bench, start_node, start_camera, first):
    bench.clear()

    def start_the_node():
        return start_node(command=(*NODE, *REMAPPED), parameters={"assume_identity_mount": True})

    if first == "node":
        node = start_the_node()
        waiting = bench.wait_for_reason("no image on /late/image")
        assert waiting.reason.endswith("no publishers")
        assert waiting.state == TrackingState.INITIALIZING
        time.sleep(LATE)
        start_camera()
    else:
        start_camera()
        time.sleep(LATE)
        node = start_the_node()
    bench.wait_for(STATE_TOPIC, lambda state: state.state == TrackingState.TRACKING)
    assert node.stop() == 0
    assert "Traceback" not in node.log

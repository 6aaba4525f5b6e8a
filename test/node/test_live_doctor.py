"""`iup-pose doctor` without a recording examines the camera that publishes now."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from node_bench import Bench, Drive


@pytest.fixture
def bench(domain_id):
    """A bench per test, because the transform that one publishes would stay."""
    with Bench(domain_id) as running:
        yield running


@pytest.fixture
def examined(bench, domain_id):
    """Exit code and output of the doctor while a camera publishes what a function makes of its messages."""

    def examine(change=lambda image, info: None):
        ended = threading.Event()
        drive = Drive(bench)

        def send():
            while not ended.wait(0.1):
                image, info = drive.messages()
                change(image, info)
                bench.infos.publish(info)
                bench.images.publish(image)

        camera = threading.Thread(target=send)
        camera.start()
        try:
            command = [sys.executable, "-m", "iup_pose_ros.cli", "doctor", "--seconds", "7"]
            environment = {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100.0)
        finally:
            ended.set()
            camera.join()
        return done.returncode, done.stdout, done.stderr

    return examine


def test_what_is_wrong_is_listed_worst_first(examined):
    def change(image, info):
        info.k = np.array([20_000.0, 0.0, 159.5, 0.0, 20_000.0, 119.5, 0.0, 0.0, 1.0])

    code, output, errors = examined(change)
    lines = output.splitlines()
    assert code == 1, output + errors
    assert lines[0] == "camera: /image with /camera_info; listening for 7 s"
    assert lines[1].startswith("1. ERROR: ")
    assert "images cannot be used: fx = 20000" in lines[1]
    assert lines[2].startswith(
        "2. warning: no transform on TF (waiting for transform base_link <- camera_optical"
    )


def test_stamps_that_never_match_are_named(examined):
    def change(image, info):
        info.header.stamp.sec += 1

    code, output, errors = examined(change)
    assert code == 1, output + errors
    assert "set sync_slop to pair stamps that differ" in output


def test_a_sound_camera_has_nothing_to_mend(bench, examined):
    bench.mount_camera((-0.5, 0.5, -0.5, 0.5), (0.0, 0.0, 0.0))
    code, output, errors = examined()
    assert (code, output.splitlines()[1:]) == (0, ["no problems found"]), output + errors

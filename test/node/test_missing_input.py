"""A camera without calibration, then without its mount: both are named and may come late."""

from __future__ import annotations

import time
from pathlib import Path

from child_node import wait_until
from iup_pose_msgs.msg import TrackingState
from node_bench import OUTPUTS, Drive

from iup_pose_ros.node.inputs import profile_hint


def test_missing_camera_info_and_mount_are_named_and_may_come_late(bench, start_module_node):
    node = start_module_node(parameters={"input_timeout": 0.5, "mount_timeout": 0.1})
    bench.wait_for_node()
    drive = Drive(bench)

    def camera_info_is_missed():
        bench.images.publish(drive.messages()[0])
        time.sleep(0.05)
        return any("no camera_info" in state.reason for state in bench.states())

    wait_until(camera_info_is_missed, 20.0, lambda: f"{bench.states()}")
    state = bench.wait_for_reason("no camera_info on /camera_info for")
    assert state.state == TrackingState.INITIALIZING
    assert state.frames_processed == 0
    bench.wait_for_reason("1 publisher(s) but no messages received")

    for state in drive.show(2):
        assert state.state == TrackingState.INITIALIZING
        assert state.reason.startswith("waiting for transform base_link <- camera_optical")
    assert not [message for topic in OUTPUTS for message in bench.received(topic)]

    bench.mount_camera((0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0))

    def tracks():
        return drive.show(1)[0].state == TrackingState.TRACKING

    wait_until(tracks, 30.0, lambda: f"the node does not track: {bench.states()[-1]}")
    assert "waiting for transform base_link <- camera_optical" in node.log


def test_large_images_without_a_profile_of_fast_dds_are_named(monkeypatch):
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    hint = profile_hint(640 * 480 * 3)
    assert hint.startswith("; images of 0.9 MB do not fit Fast DDS's default buffers")
    assert Path(hint.rpartition("=")[2]).is_file()
    assert profile_hint(320 * 240 * 3) == ""
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert profile_hint(640 * 480 * 3) == ""

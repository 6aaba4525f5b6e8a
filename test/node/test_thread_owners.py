"""Objects that threads share are used by their owner or under the lock, as docs/architecture.md says."""

from __future__ import annotations

from pathlib import Path

from child_node import wait_until
from iup_pose_msgs.srv import SaveTrajectory
from node_bench import Drive
from std_srvs.srv import SetBool, Trigger

NODE = Path(__file__).with_name("recording_vo_node.py")
# The thread that uses a class, and what others may use of it.
OWNERS = {
    "FramePipeline": "odometry",
    "VisualOdometry": "odometry",
    "OutOfMemoryFallback": "odometry",
    "DebugOutput": "odometry",
    "ImageInputs": "executor",
    "TrackingSession": "executor",
}
UNDER_THE_LOCK = {
    "FramePipeline.warnings",
    "FramePipeline.keyframes",
    "VisualOdometry.prior_problem",
    "VisualOdometry.keyframes",
    "OdometryOutputs.publish",
    "OdometryOutputs.forget",
    "OdometryOutputs.change",
}
BY_ANY_THREAD = {
    "OutOfMemoryFallback.info",
    "OutOfMemoryFallback.device_megabytes",
    "OdometryOutputs.warning",
}

# What images, requests and timers use.
EXPECTED = {
    "FramePipeline.process odometry",
    "FramePipeline.reset odometry",
    "FramePipeline.change odometry",
    "FramePipeline.warnings executor",
    "VisualOdometry.process odometry",
    "OutOfMemoryFallback.estimate odometry",
    "OutOfMemoryFallback.info executor",
    "DebugOutput.publish odometry",
    "OdometryOutputs.publish odometry",
    "OdometryOutputs.forget executor",
    "OdometryOutputs.change executor",
    "ImageInputs.fault executor",
    "TrackingSession.pause executor",
}


def is_allowed(use: str) -> bool:
    name, thread, lock = use.split()
    by_owner = thread == OWNERS.get(name.partition(".")[0])
    return by_owner or name in BY_ANY_THREAD or (name in UNDER_THE_LOCK and lock == "locked")


def test_each_object_is_used_by_its_owner_or_under_the_lock(bench, start_node, tmp_path):
    output = tmp_path / "uses.txt"
    node = start_node(
        parameters={"assume_identity_mount": True, "output_directory": str(tmp_path)},
        command=(str(NODE), str(output)),
    )
    for _ in range(2):
        bench.wait_for_node()
        Drive(bench).show(8)
        assert bench.call(SaveTrajectory, "save_trajectory", SaveTrajectory.Request()).success
        assert all(result.successful for result in bench.set_parameters(path_length=20, input_timeout=0.4))
        for paused in (True, False):
            assert bench.call(SetBool, "pause", SetBool.Request(data=paused)).success
        assert bench.call(Trigger, "reset", Trigger.Request()).success

    def uses():
        return output.read_text().splitlines()

    def missing():
        return EXPECTED - {use.rpartition(" ")[0] for use in uses()}

    wait_until(lambda: not missing(), 30.0, lambda: f"not used: {missing()}")
    assert [use for use in uses() if not is_allowed(use)] == []
    assert "unexpected" not in node.log

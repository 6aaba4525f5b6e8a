"""A recording of the node's outputs is evaluated like the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg
from typer.testing import CliRunner

from iup_pose_ros.bags.messages import new_typestore
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.cli import app
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.node import message_conversion
from iup_pose_ros.node.monitor import FrameCounts
from iup_pose_ros.odometry import OdometryUpdate, VisualOdometry

ESTIMATOR = "epipolar_klt"
DEFINITIONS = Path(__file__).resolve().parents[2] / "msg" / "msg"
TYPES = {
    "/vo_node/odometry": "nav_msgs/msg/Odometry",
    "/vo_node/keyframe_edge": "iup_pose_msgs/msg/RelativePose",
    "/vo_node/tracking_state": "iup_pose_msgs/msg/TrackingState",
}
LATENCY = 20_000_000


def as_time(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def published(update: OdometryUpdate, stamp: int, processed: int, stamps: list[int]) -> list[tuple[str, Any]]:
    """What the node publishes for an image."""
    time, counts = as_time(stamp), FrameCounts(processed, processed)
    state = message_conversion.tracking_state(time, "camera_optical", update.state, update.reason, counts, 0)
    found: list[tuple[str, Any]] = []
    if update.edge is not None:
        previous = min(stamps, key=lambda candidate: abs(candidate * 1e-9 - update.edge.previous_stamp))
        edge = message_conversion.keyframe_edge(
            update.edge, time, as_time(previous), "base_link", update.state
        )
        found.append(("/vo_node/keyframe_edge", edge))
    if update.pose is not None and update.twist is not None:
        odometry = message_conversion.odometry(update.pose, update.twist, time, "odom", "base_link")
        found.append(("/vo_node/odometry", odometry))
    return [*found, ("/vo_node/tracking_state", state)]


@pytest.fixture
def outputs(bag: Path, tmp_path: Path) -> Path:
    """What the node publishes on the flight, as `ros2 bag record` keeps it; it never got the 11th image."""
    types = new_typestore()
    for kind in ("RelativePose", "TrackingState"):
        text = (DEFINITIONS / f"{kind}.msg").read_text()
        types.register(get_types_from_msg(text, f"iup_pose_msgs/msg/{kind}"))
    with (
        BagReader(bag) as reader,
        Writer(tmp_path / "outputs", version=8, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        mount = StaticTransforms.read(reader).find("base_link", reader.camera_frame)
        assert mount is not None
        odometry = VisualOdometry(create_estimator(ESTIMATOR), T_base_camera=mount)
        connections = {
            topic: writer.add_connection(topic, kind, typestore=types) for topic, kind in TYPES.items()
        }
        info = writer.add_connection("/camera/camera_info", "sensor_msgs/msg/CameraInfo", typestore=types)
        for message in reader.messages(["/camera/camera_info"]):
            writer.write(info, message.time, message.data)
        stamps = list(reader.image_stamps())
        frames = [(frame, stamp) for frame, stamp in zip(reader.frames(), stamps, strict=True)]
        del frames[10]
        for processed, (frame, stamp) in enumerate(frames, start=1):
            for topic, message in published(odometry.process(frame), stamp, processed, stamps):
                writer.write(connections[topic], stamp + LATENCY, serialize_message(message))
    return tmp_path / "outputs"


def test_recorded_outputs_are_evaluated_as_the_run_was(outputs: Path, bag: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    arguments = ["--gt-topic", "/ground_truth", "--recorded", str(outputs), "--report", str(folder)]
    result = CliRunner().invoke(app, ["evaluate", "bag", str(bag), *arguments])
    assert result.exit_code == 0, result.output
    values = json.loads((folder / "metrics.json").read_text())["estimators"][ESTIMATOR]
    assert values["mode"] == "recorded"
    assert (values["frames"], values["frames_processed"], values["frames_not_delivered"]) == (48, 47, 1)
    assert values["latency_ms_p50"] == pytest.approx(LATENCY * 1e-6, abs=0.01)
    assert values["ate_sim3_percent_of_path"] < 2.0
    assert values["rpe_rotation_deg_per_frame"] < 0.3
    assert values["rpe_direction_deg_median"] < 5.0
    assert values["keyframes"] >= 5


def test_types_that_a_recording_does_not_define_are_named(bag: Path, tmp_path: Path) -> None:
    """sqlite3 recordings of ROS 2 Humble hold no definitions."""
    import sqlite3

    types = new_typestore()
    kind = "iup_pose_msgs/msg/TrackingState"
    types.register(get_types_from_msg((DEFINITIONS / "TrackingState.msg").read_text(), kind))
    with Writer(tmp_path / "bare", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/vo_node/tracking_state", kind, typestore=types)
        writer.write(connection, 1, bytes(50))
    with sqlite3.connect(tmp_path / "bare" / "bare.db3") as database:
        database.execute("DELETE FROM message_definitions")
    result = CliRunner().invoke(app, ["evaluate", "bag", str(bag), "--recorded", str(tmp_path / "bare")])
    assert result.exit_code == 2
    assert f"does not define the type {kind}; recordings in mcap define all their types" in result.stderr

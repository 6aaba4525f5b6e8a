"""The examples run on edges as the node publishes them, recorded and live."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance

HAS_GTSAM = importlib.util.find_spec("gtsam") is not None
gtsam: Any = importlib.import_module("gtsam") if HAS_GTSAM else None
pytestmark = pytest.mark.skipif(
    not HAS_GTSAM, reason="gtsam is not installed: pip install --no-deps gtsam==4.3.0"
)

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "pose_graph.py"
EDGE = "iup_pose_msgs/msg/RelativePose"
KEYFRAMES, RADIUS, PERIOD = 25, 3.0, 0.2
SIGMAS = np.repeat([0.02, 0.01], 3)
START = 1_700_000_000


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("pose_graph", EXAMPLE)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def circle():
    """T_world_base of a robot that drives once around and ends where it began."""
    angles = np.linspace(0.0, 2.0 * np.pi, KEYFRAMES)
    rotations = so3.exp(np.outer(angles, [0.0, 0.0, 1.0]))
    positions = RADIUS * np.stack([np.sin(angles), 1.0 - np.cos(angles), 0.0 * angles], axis=1)
    return [Pose(rotation, position) for rotation, position in zip(rotations, positions, strict=True)]


def measured_steps():
    """The steps between the poses with errors of their covariance, which lie in the previous frame."""
    rng = np.random.default_rng(4)
    poses, steps = circle(), []
    for previous, current in itertools.pairwise(poses):
        step = previous.inverse() @ current
        # Short along the track: the loop does not close by itself.
        error = SIGMAS * rng.normal(size=6) - np.array([0.02, 0, 0, 0, 0, 0.01])
        noisy = Pose(so3.exp(error[3:]) @ step.rotation, step.translation + error[:3])
        steps.append(PoseWithCovariance(noisy, np.diag(SIGMAS**2)))
    return steps


def typestore():
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg((ROOT / "msg/msg/RelativePose.msg").read_text(), EDGE))
    return types


def edge_message(types, index, step, previous_id, current_id):
    """A RelativePose of rosbags."""
    kinds = types.types

    def stamp(number):
        seconds = number * PERIOD
        return kinds["builtin_interfaces/msg/Time"](
            sec=START + int(seconds), nanosec=int(1e9 * (seconds % 1.0))
        )

    x, y, z, w = step.pose.quaternion
    pose = kinds["geometry_msgs/msg/Pose"](
        position=kinds["geometry_msgs/msg/Point"](*step.pose.translation),
        orientation=kinds["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
    )
    return kinds[EDGE](
        header=kinds["std_msgs/msg/Header"](stamp=stamp(index + 1), frame_id="base_link"),
        previous_stamp=stamp(index),
        previous_id=previous_id,
        current_id=current_id,
        pose=kinds["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=step.covariance.ravel()),
        sigma_rotation=SIGMAS[3:],
        sigma_direction=0.05,
        inlier_probability=0.95,
        metric=True,
        scale_source="odometry",
        bridged=False,
        estimator="epipolar_klt",
        tracking_state=1,
        inference_time=0.02,
    )


def edge_messages(skip=None):
    """The robot's edges; after number ``skip`` a keyframe is missing, as when the node was lost."""
    types = typestore()
    for index, step in enumerate(measured_steps()):
        shift = int(skip is not None and index >= skip)
        yield types, edge_message(types, index, step, index + shift, index + 1 + shift)


def write_bag(path, messages, storage=StoragePlugin.MCAP):
    with Writer(path, version=8, storage_plugin=storage) as writer:
        connection = None
        for types, message in messages:
            connection = connection or writer.add_connection("/vo_node/keyframe_edge", EDGE, typestore=types)
            stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            writer.write(connection, stamp, types.serialize_cdr(message, EDGE))
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("edges") / "bag", edge_messages())


def run(example, *arguments):
    return example.main([str(argument) for argument in arguments])


def end_errors(poses):
    """Distances of the poses from the true ones."""
    truth = np.array([pose.translation for pose in circle()])
    return np.linalg.norm(poses.positions - truth, axis=1)


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_edges_of_a_recording_are_those_that_were_published(example, tmp_path, storage):
    edges = example.read_edges(write_bag(tmp_path / "bag", edge_messages(), storage))
    assert [(edge.previous_id, edge.current_id) for edge in edges] == [
        (i, i + 1) for i in range(KEYFRAMES - 1)
    ]
    assert edges[2].previous_stamp == pytest.approx(START + 2 * PERIOD)
    for edge, step in zip(edges, measured_steps(), strict=True):
        np.testing.assert_allclose(edge.pose.pose.matrix, step.pose.matrix, atol=1e-12)
        np.testing.assert_allclose(edge.pose.covariance, step.covariance)


def test_a_factor_charges_an_error_what_ros_says_it_is_worth(example):
    """The squared error of a factor is the Mahalanobis distance in the convention of the messages."""
    rng = np.random.default_rng(8)
    factor = rng.normal(size=(6, 6))
    covariance = 1e-8 * (factor @ factor.T + np.eye(6))
    step = PoseWithCovariance(
        Pose(so3.exp(np.array([0.4, -1.0, 0.8])), np.array([2.0, -1.0, 0.5])), covariance
    )
    graph = example.build([example.Edge(0, 1, 0.0, 1.0, step, True)])
    error = np.linalg.cholesky(covariance) @ rng.normal(size=6)
    true = Pose(so3.exp(error[3:]) @ step.pose.rotation, step.pose.translation + error[:3])
    values = gtsam.Values()
    values.insert(0, gtsam.Pose3())
    values.insert(1, example.to_gtsam(true))
    assert 2.0 * graph.factors.error(values) == pytest.approx(
        error @ np.linalg.solve(covariance, error), rel=1e-2
    )


def test_without_a_loop_the_optimum_is_the_chain(example, bag):
    graph = example.build(example.read_edges(bag))
    before, after = (example.trajectory(graph, values) for values in (graph.start, example.optimise(graph)))
    np.testing.assert_allclose(after.positions, before.positions, atol=1e-6)


def test_a_loop_brings_the_ends_together_and_all_poses_closer_to_the_truth(example, bag):
    graph = example.build(example.read_edges(bag), [(0, KEYFRAMES - 1)])
    values = example.optimise(graph)
    before, after = (example.trajectory(graph, poses) for poses in (graph.start, values))
    assert np.linalg.norm(before.positions[-1] - before.positions[0]) > 0.2
    assert np.linalg.norm(after.positions[-1] - after.positions[0]) < 0.05
    assert end_errors(after).mean() < 0.5 * end_errors(before).mean()
    assert graph.factors.error(values) < 0.2 * graph.factors.error(graph.start)


def test_a_gap_in_the_edges_is_bridged_by_a_weak_link(example, tmp_path):
    edges = example.read_edges(write_bag(tmp_path / "bag", edge_messages(skip=10)))
    graph = example.build(edges, [(0, KEYFRAMES)])
    assert list(graph.stamps) == [*range(KEYFRAMES + 1)]
    assert graph.factors.size() == 1 + (KEYFRAMES - 1) + 1 + 1
    values = example.optimise(graph)
    bridge = example.from_gtsam(values.atPose3(10).between(values.atPose3(11)))
    assert np.linalg.norm(bridge.translation) > 0.1
    chained = example.from_gtsam(values.atPose3(3).between(values.atPose3(4)))
    np.testing.assert_allclose(chained.matrix, edges[3].pose.pose.matrix, atol=0.01)


def test_the_command_reports_before_and_after_and_writes_the_poses(example, bag, tmp_path, capsys):
    assert run(example, bag, "--loop", 0, KEYFRAMES - 1, "--output", tmp_path / "out.tum") == 0
    output = capsys.readouterr().out
    assert output.index("before: error") < output.index("after: error")
    assert output.count(f"keyframes 0 and {KEYFRAMES - 1}: ") == 2
    assert len(read_tum(tmp_path / "out.tum")) == KEYFRAMES


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing"], "missing is no recording"),
        (["BAG", "--loop", 0, 99], "no keyframe 99; there are 0 to 24"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(example, bag, arguments, sentence, capsys):
    assert run(example, *[bag if argument == "BAG" else argument for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["BAG", "--live"], [], ["BAG", "--loop", 1]])
def test_a_wrong_command_line_shows_the_usage(example, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(example, *arguments)
    assert "usage:" in capsys.readouterr().err


def test_a_recording_without_edges_is_named(example, tmp_path, capsys):
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=types)
        message = types.types["std_msgs/msg/String"](data="hello")
        writer.write(connection, 1, types.serialize_cdr(message, "std_msgs/msg/String"))
    assert run(example, tmp_path / "bag") == 2
    assert f"no messages of type {EDGE}" in capsys.readouterr().err


def test_edges_of_two_runs_are_refused(example, bag):
    edges = example.read_edges(bag)
    with pytest.raises(example.DataError, match="edge 0 -> 1 follows keyframe 24: the node was reset"):
        example.build([*edges, *edges])


def is_heard(send, log, words):
    """Whether the words are in the log after one of a few attempts to send."""
    for _ in range(5):
        send()
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            if words in log.read_text():
                return True
            time.sleep(0.01)
    return False


def test_edges_of_a_running_node_are_optimised(domain_id, tmp_path):
    """Over DDS: the example as its own process, the node's edges published by the test."""
    import rclpy
    from iup_pose_msgs.msg import RelativePose
    from rclpy.serialization import deserialize_message

    last = KEYFRAMES - 1
    command = [sys.executable, str(EXAMPLE), "--live", "--topic", "/edges", "--loop", "0", str(last)]
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = rclpy.create_node("edges", context=context)
    publisher = node.create_publisher(RelativePose, "/edges", 100)
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output)
    watchdog = threading.Timer(60.0, process.kill)
    watchdog.start()
    try:
        deadline = time.monotonic() + 30.0
        while publisher.get_subscription_count() == 0:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Sent again where it is not heard: both sides of a connection do not learn of it at the same moment.
        for number, (types, message) in enumerate(edge_messages(), start=1):
            edge = deserialize_message(bytes(types.serialize_cdr(message, EDGE)), RelativePose)
            assert is_heard(lambda edge=edge: publisher.publish(edge), log, f"keyframe {number};")
        process.send_signal(signal.SIGINT)
        process.wait()
    finally:
        watchdog.cancel()
        process.kill()
        rclpy.shutdown(context=context)
    assert process.returncode == 0
    assert f"{KEYFRAMES} keyframes" in log.read_text()

"""Builds a pose graph of vo_node's keyframe edges, closes loops in it and optimises it with GTSAM.

From a recording (`ros2 bag record /vo_node/keyframe_edge`), or from a running node until Ctrl-C:

    python examples/pose_graph.py recording --loop 0 57 --output optimised.tum
    python examples/pose_graph.py --live --loop 0 57

`--loop A B` says that keyframes A and B were taken at the same place, looking the same way: what place
recognition would find. GTSAM comes with `pip install gtsam==4.3.0`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gtsam
import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.errors import DataError, IupPoseError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory

EDGE = "iup_pose_msgs/msg/RelativePose"
EDGE_DEFINITION = Path(__file__).resolve().parent.parent / "msg/msg/RelativePose.msg"

# The first keyframe is the origin by definition.
ORIGIN_SIGMA = 1e-6
# Across a gap in the edges (the node was LOST) anything may have happened: units of length and radians.
GAP_SIGMAS = (100.0, np.pi)
# How exactly the two ends of a loop are at the same place.
LOOP_SIGMAS = (0.02, 0.02)


@dataclass(frozen=True, eq=False)
class Edge:
    """Motion of the base between two keyframes.

    Attributes:
        previous_id: number of the previous keyframe.
        current_id: number of the current keyframe.
        previous_stamp: seconds.
        current_stamp: seconds.
        pose: T_prev_curr, covariance in the previous base frame (ROS convention).
        metric: whether lengths are metres.
    """

    previous_id: int
    current_id: int
    previous_stamp: float
    current_stamp: float
    pose: PoseWithCovariance
    metric: bool


@dataclass(frozen=True, eq=False)
class PoseGraph:
    """Factors, their starting values, and the stamps (seconds) of the keyframes by number."""

    factors: gtsam.NonlinearFactorGraph
    start: gtsam.Values
    stamps: dict[int, float]


def edge_of(message: Any) -> Edge:
    """The edge in an iup_pose_msgs/RelativePose, of rosbags or of rclpy."""
    position, rotation = message.pose.pose.position, message.pose.pose.orientation
    pose = Pose.from_quaternion(
        [rotation.x, rotation.y, rotation.z, rotation.w], [position.x, position.y, position.z]
    )
    covariance = np.reshape(np.asarray(message.pose.covariance, dtype=np.float64), (6, 6))
    return Edge(
        int(message.previous_id),
        int(message.current_id),
        _seconds(message.previous_stamp),
        _seconds(message.header.stamp),
        PoseWithCovariance(pose, covariance),
        bool(message.metric),
    )


def read_edges(bag: Path) -> list[Edge]:
    """All edges of a rosbag2 recording.

    Raises:
        DataError: there is no such recording, or it has no edges.
    """
    # Recordings of older distributions do not carry the definitions of their messages.
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg(EDGE_DEFINITION.read_text(encoding="utf-8"), EDGE))
    try:
        with AnyReader([bag], default_typestore=types) as reader:
            connections = [connection for connection in reader.connections if connection.msgtype == EDGE]
            messages = reader.messages(connections) if connections else ()
            edges = [edge_of(reader.deserialize(data, EDGE)) for _, _, data in messages]
    except (AnyReaderError, OSError) as error:
        raise DataError(f"{bag} is no recording: {error}") from error
    if not edges:
        raise DataError(f"{bag} has no messages of type {EDGE}; record vo_node's ~/keyframe_edge")
    return edges


def listen(topic: str) -> list[Edge]:
    """The edges that a running node publishes until Ctrl-C.

    Raises:
        DataError: none came.
    """
    import rclpy
    from iup_pose_msgs.msg import RelativePose
    from rclpy.signals import SignalHandlerOptions

    edges: list[Edge] = []

    def take(message: RelativePose) -> None:
        edges.append(edge_of(message))
        print(f"keyframe {edges[-1].current_id}; Ctrl-C to optimise", flush=True)

    # rclpy's own handler of signals ends the context under a node that spins, at times with an error, and a
    # KeyboardInterrupt may be raised where it is swallowed.
    stopped = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("pose_graph")
    node.create_subscription(RelativePose, topic, take, 100)
    while not stopped.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    rclpy.shutdown()
    signal.signal(signal.SIGINT, before)
    if not edges:
        raise DataError(f"no edge came on {topic}")
    return edges


def build(edges: Sequence[Edge], loops: Sequence[tuple[int, int]] = ()) -> PoseGraph:
    """A graph of the edges, of weak links across gaps between them, and of loops.

    Raises:
        DataError: an edge lies before the one that it follows, or an end of a loop is no keyframe.
    """
    graph = PoseGraph(gtsam.NonlinearFactorGraph(), gtsam.Values(), {})
    first = edges[0].previous_id
    origin = gtsam.noiseModel.Isotropic.Sigma(6, ORIGIN_SIGMA)
    graph.factors.add(gtsam.PriorFactorPose3(first, gtsam.Pose3(), origin))
    graph.start.insert(first, gtsam.Pose3())
    graph.stamps[first] = edges[0].previous_stamp
    for edge in edges:
        append(graph, edge)
    for ends in loops:
        missing = [str(end) for end in ends if end not in graph.stamps]
        if missing:
            raise DataError(f"no keyframe {' and '.join(missing)}; there are {first} to {max(graph.stamps)}")
        graph.factors.add(between(*ends, Pose.identity(), LOOP_SIGMAS))
    return graph


def append(graph: PoseGraph, edge: Edge) -> None:
    """Adds the next edge, and a weak link to it where keyframes are missing before it.

    Raises:
        DataError: it does not lie after the last one.
    """
    previous, current, last = edge.previous_id, edge.current_id, max(graph.stamps)
    if not last <= previous < current:
        raise DataError(
            f"edge {previous} -> {current} follows keyframe {last}: the node was reset; "
            "edges of one run are needed"
        )
    if previous > last:
        graph.factors.add(between(last, previous, Pose.identity(), GAP_SIGMAS))
        graph.start.insert(previous, graph.start.atPose3(last))
        graph.stamps[previous] = edge.previous_stamp
    motion = to_gtsam(edge.pose.pose)
    noise = gtsam.noiseModel.Gaussian.Covariance(tangent_covariance(edge.pose))
    graph.factors.add(gtsam.BetweenFactorPose3(previous, current, motion, noise))
    graph.start.insert(current, graph.start.atPose3(previous).compose(motion))
    graph.stamps[current] = edge.current_stamp


def between(previous: int, current: int, pose: Pose, sigmas: tuple[float, float]) -> gtsam.BetweenFactorPose3:
    """A factor with one deviation per axis for lengths and one, in radians, for angles."""
    length, angle = sigmas
    noise = gtsam.noiseModel.Diagonal.Sigmas(np.repeat([angle, length], 3))
    return gtsam.BetweenFactorPose3(previous, current, to_gtsam(pose), noise)


def tangent_covariance(pose: PoseWithCovariance) -> Array:
    """The covariance (6, 6) as GTSAM has it: T_true = T Exp(xi), rotation first, in the current frame.

    ROS has the errors in the previous frame, translation first: t_true = t + dt, R_true = Exp(dphi) R. To
    first order xi = (R^T dphi, R^T dt).
    """
    to_tangent = np.zeros((6, 6))
    to_tangent[:3, 3:] = to_tangent[3:, :3] = pose.pose.rotation.T
    covariance = to_tangent @ pose.covariance @ to_tangent.T
    return np.asarray(0.5 * (covariance + covariance.T))


def optimise(graph: PoseGraph) -> gtsam.Values:
    """The most likely poses."""
    return gtsam.LevenbergMarquardtOptimizer(graph.factors, graph.start).optimize()


def trajectory(graph: PoseGraph, values: gtsam.Values) -> Trajectory:
    """Poses of the base in the frame of the first keyframe."""
    poses = [from_gtsam(values.atPose3(key)) for key in graph.stamps]
    return Trajectory.from_poses(list(graph.stamps.values()), poses)


def to_gtsam(pose: Pose) -> gtsam.Pose3:
    """A pose as GTSAM has it."""
    return gtsam.Pose3(gtsam.Rot3(pose.rotation), pose.translation)


def from_gtsam(pose: gtsam.Pose3) -> Pose:
    """A pose of GTSAM."""
    return Pose(np.asarray(pose.rotation().matrix()), np.asarray(pose.translation()))


def report(graph: PoseGraph, loops: Sequence[tuple[int, int]], values: gtsam.Values, metric: bool) -> None:
    """Prints what the optimisation changed."""
    unit = "m" if metric else "units of the trajectory"
    before, after = trajectory(graph, graph.start), trajectory(graph, values)
    print(f"{len(before)} keyframes, {graph.factors.size()} factors, {len(loops)} loops")
    for title, poses in (("before", graph.start), ("after", values)):
        print(f"{title}: error {graph.factors.error(poses):.3f}")
        for ends in loops:
            apart = from_gtsam(poses.atPose3(ends[0]).between(poses.atPose3(ends[1])))
            angle = np.degrees(np.linalg.norm(gtsam.Rot3.Logmap(gtsam.Rot3(apart.rotation))))
            distance = np.linalg.norm(apart.translation)
            print(f"  keyframes {ends[0]} and {ends[1]}: {distance:.3f} {unit} and {angle:.2f} deg apart")
    moved = np.linalg.norm(after.positions - before.positions, axis=1)
    print(f"furthest moved: keyframe {list(graph.stamps)[int(moved.argmax())]}, by {moved.max():.3f} {unit}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Optimise a pose graph of vo_node's keyframe edges.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("bag", type=Path, nargs="?", help="rosbag2 recording with keyframe_edge")
    source.add_argument("--live", action="store_true", help="listen to a running node until Ctrl-C")
    parser.add_argument("--topic", default="/vo_node/keyframe_edge", help="with --live: the edges")
    parser.add_argument(
        "--loop", nargs=2, type=int, action="append", default=[], metavar=("A", "B"), help="same place"
    )
    parser.add_argument("--output", type=Path, help="TUM file for the optimised poses of the base")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse(arguments)
    loops = [(first, second) for first, second in options.loop]
    try:
        edges = listen(options.topic) if options.live else read_edges(options.bag)
        graph = build(edges, loops)
        values = optimise(graph)
        report(graph, loops, values, all(edge.metric for edge in edges))
        if options.output is not None:
            write_tum(options.output, trajectory(graph, values), "T_first_base, optimised")
            print(f"written to {options.output}")
    except IupPoseError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + 1e-9 * stamp.nanosec)


if __name__ == "__main__":
    sys.exit(main())

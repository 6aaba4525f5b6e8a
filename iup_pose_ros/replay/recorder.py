"""Collects what the node publishes during a run."""

from __future__ import annotations

import time
from threading import Condition
from typing import Any

import numpy as np
from iup_pose_msgs.msg import RelativePose
from iup_pose_msgs.msg import TrackingState as TrackingStateMessage
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from iup_pose_ros.evaluation.run_record import EdgeRecord, FrameRecord, RunRecord, StampedPose, from_origin
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import TrackingState

_COUNTERS = ("frames_received", "frames_dropped_busy", "frames_dropped_invalid")


class Recorder:
    """Subscriptions to the node's outputs; keeps every message with the time of its arrival.

    Args:
        node: the ROS node that subscribes.
        vo_node: full name of the visual odometry's node, for example ``/vo_node``.
    """

    def __init__(self, node: Node, vo_node: str) -> None:
        self._changed = Condition()
        self._sent: dict[int, float] = {}
        self._answered: set[int] = set()
        self._states: list[tuple[TrackingStateMessage, float]] = []
        self._odometry: list[Odometry] = []
        self._edges: list[RelativePose] = []
        depth = 1000
        reliable = QoSProfile(depth=depth, reliability=QoSReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=depth,
            reliability=QoSReliabilityPolicy.RELIABLE,
            durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
        )
        self._subscriptions = [
            node.create_subscription(Odometry, f"{vo_node}/odometry", self._odometry.append, reliable),
            node.create_subscription(RelativePose, f"{vo_node}/keyframe_edge", self._edges.append, reliable),
            node.create_subscription(
                TrackingStateMessage, f"{vo_node}/tracking_state", self._on_state, latched
            ),
        ]

    @property
    def hears(self) -> bool:
        """Whether every subscription has found the node's publisher."""
        return all(subscription.get_publisher_count() > 0 for subscription in self._subscriptions)

    def sent(self, stamp: int, sent_at: float) -> None:
        """Note that the image with this stamp (ns) goes out now (``time.monotonic()``)."""
        self._sent[stamp] = sent_at

    def wait_for_state(self, stamp: int, timeout: float) -> bool:
        """Wait until a state with the stamp of this image (ns) has arrived; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: stamp in self._answered, timeout)

    def record(self, estimator: str, T_base_camera: Pose) -> RunRecord:
        """Everything that has arrived, as motion of the camera."""
        poses = [_stamped_pose(message, T_base_camera) for message in self._odometry]
        edges = [_edge(message, T_base_camera) for message in self._edges]
        return RunRecord(
            mode="live",
            estimator=estimator,
            image_stamps=np.array(sorted(self._sent)) * 1e-9,
            frames=self._frames(),
            poses=from_origin(poses, edges, T_base_camera),
            edges=edges,
            counters=self._counters(),
        )

    def _on_state(self, message: TrackingStateMessage) -> None:
        with self._changed:
            self._states.append((message, time.monotonic()))
            self._answered.add(_stamp(message))
            self._changed.notify_all()

    def _frames(self) -> list[FrameRecord]:
        frames, processed = [], 0
        for message, arrived in self._states:
            sent_at = self._sent.get(_stamp(message))
            # States also tell of refused images; only a processed one moves this counter.
            if message.frames_processed > processed and sent_at is not None:
                state = TrackingState(message.state)
                frames.append(FrameRecord(_stamp(message) * 1e-9, state, message.reason, arrived - sent_at))
            processed = message.frames_processed
        return frames

    def _counters(self) -> dict[str, int]:
        if not self._states:
            return {}
        message = self._states[-1][0]
        return {name: int(getattr(message, name)) for name in _COUNTERS}


def _stamp(message: Any) -> int:
    return _nanoseconds(message.header.stamp)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose_with_covariance(message: Any) -> PoseWithCovariance:
    position, quaternion = message.pose.position, message.pose.orientation
    pose = Pose.from_quaternion(
        [quaternion.x, quaternion.y, quaternion.z, quaternion.w], [position.x, position.y, position.z]
    )
    return PoseWithCovariance(pose, np.array(message.covariance, dtype=np.float64).reshape(6, 6))


def _stamped_pose(message: Odometry, T_base_camera: Pose) -> StampedPose:
    T_odom_base = _pose_with_covariance(message.pose)
    return StampedPose(_stamp(message) * 1e-9, T_odom_base @ PoseWithCovariance.exact(T_base_camera))


def _edge(message: RelativePose, T_base_camera: Pose) -> EdgeRecord:
    return EdgeRecord(
        previous_stamp=_nanoseconds(message.previous_stamp) * 1e-9,
        current_stamp=_stamp(message) * 1e-9,
        T_prev_curr=_pose_with_covariance(message.pose).change_of_frame(T_base_camera.inverse()),
        metric=bool(message.metric),
        inference_time=float(message.inference_time),
    )

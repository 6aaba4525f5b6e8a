"""Conversion of a node's outputs, live or recorded, to a run record; without ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iup_pose_ros.bags.messages import pose_of, stamp_of
from iup_pose_ros.evaluation.runs.run_record import (
    EdgeRecord,
    FrameRecord,
    RunRecord,
    StampedPose,
    from_origin,
)
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.stamps import epoch_seconds

_COUNTERS = ("frames_received", "frames_dropped_busy", "frames_dropped_invalid")


@dataclass(eq=False)
class NodeOutputs:
    """Messages of vo_node in order of arrival, of rclpy or of rosbags.

    Attributes:
        states: iup_pose_msgs/TrackingState, each with its arrival time in seconds.
        odometry: nav_msgs/Odometry.
        edges: iup_pose_msgs/RelativePose.
    """

    states: list[tuple[Any, float]] = field(default_factory=list)
    odometry: list[Any] = field(default_factory=list)
    edges: list[Any] = field(default_factory=list)

    def record(self, mode: str, estimator: str, sent: Mapping[int, float], T_base_camera: Pose) -> RunRecord:
        """Return the run as motion of the camera.

        Args:
            mode: "live" or "recorded".
            estimator: name of the estimator.
            sent: sending time, on the clock of the states' arrival, by the stamp (ns) of every image; NaN if
                unknown.
            T_base_camera: extrinsics of the camera.
        """
        exact, T_camera_base = PoseWithCovariance.exact(T_base_camera), T_base_camera.inverse()
        poses = [
            StampedPose(epoch_seconds(message.header.stamp), _pose_with_covariance(message.pose) @ exact)
            for message in self.odometry
        ]
        edges = [
            EdgeRecord(
                previous_stamp=epoch_seconds(message.previous_stamp),
                current_stamp=epoch_seconds(message.header.stamp),
                T_prev_curr=_pose_with_covariance(message.pose).change_of_frame(T_camera_base),
                metric=bool(message.metric),
                inference_time=float(message.inference_time),
                inlier_probability=float(message.inlier_probability),
                scale_source=str(message.scale_source),
            )
            for message in self.edges
        ]
        frames, processed = [], 0
        for message, arrived in self.states:
            stamp = stamp_of(message)
            # States are also published for dropped images; only processed ones increase this counter.
            if message.frames_processed > processed and stamp in sent:
                state, latency = TrackingState(message.state), arrived - sent.get(stamp, math.nan)
                frames.append(FrameRecord(stamp * 1e-9, state, message.reason, latency))
            processed = message.frames_processed
        last_state = self.states[-1][0] if self.states else None
        counters = {name: int(getattr(last_state, name)) for name in _COUNTERS} if last_state else {}
        return RunRecord(
            mode=mode,
            estimator=estimator,
            image_stamps=np.array(sorted(sent)) * 1e-9,
            frames=frames,
            poses=from_origin(poses, edges, T_base_camera),
            edges=edges,
            counters=counters,
        )


def _pose_with_covariance(message: Any) -> PoseWithCovariance:
    covariance = np.array(message.covariance, dtype=np.float64).reshape(6, 6)
    return PoseWithCovariance(pose_of(message.pose), covariance)

"""What one run of the visual odometry produced, over DDS or offline. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.odometry import TrackingState


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """One processed image: its stamp, the tracker's state after it and the reason.

    ``latency`` is in seconds: from sending the image to receiving the state; offline the odometry's own time.
    """

    stamp: float
    state: TrackingState
    reason: str
    latency: float


@dataclass(frozen=True, eq=False)
class StampedPose:
    """``T_odom_camera`` at a stamp in seconds, with the covariance accumulated since the start."""

    stamp: float
    T_odom_camera: PoseWithCovariance


@dataclass(frozen=True, eq=False)
class EdgeRecord:
    """Motion ``T_prev_curr`` of the camera between two keyframes, covariance in the previous frame.

    ``inlier_probability`` is NaN where the estimator does not tell.
    """

    previous_stamp: float
    current_stamp: float
    T_prev_curr: PoseWithCovariance
    metric: bool
    inference_time: float
    inlier_probability: float = math.nan


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything one run produced, in order of time.

    Attributes:
        mode: "live" (a node, over DDS, at the recorded rate) or "offline" (every image, without ROS).
        estimator: name of the estimator.
        image_stamps: (N,) stamps in seconds of every image that was offered, processed or not.
        frames: the processed images.
        poses: the published poses: keyframes, and repeated ones while the camera stands still.
        edges: the keyframe edges.
        counters: the node's own counters at the end, for example ``frames_dropped_busy``.
        notes: what became of images that were not processed, a sentence each without full stop.
    """

    mode: str
    estimator: str
    image_stamps: Array
    frames: Sequence[FrameRecord]
    poses: Sequence[StampedPose]
    edges: Sequence[EdgeRecord]
    counters: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def trajectory(self) -> Trajectory:
        """The camera's path, ``T_odom_camera``, one pose per published pose."""
        return Trajectory.from_poses(
            [pose.stamp for pose in self.poses], [pose.T_odom_camera.pose for pose in self.poses]
        )

    def share(self, *states: TrackingState) -> float:
        """Share of the processed images that left the tracker in one of ``states``; NaN without images."""
        if not self.frames:
            return float("nan")
        return float(np.mean([frame.state in states for frame in self.frames]))

    @property
    def frames_per_edge(self) -> Array:
        """(E,) how many image intervals each edge spans."""
        return frames_per_edge(self.edges, self.image_stamps)

    @property
    def metric(self) -> bool:
        """Whether all lengths are in metres."""
        return bool(self.edges) and all(edge.metric for edge in self.edges)

    @property
    def lost_frames(self) -> list[FrameRecord]:
        """The images at which tracking was lost."""
        return [frame for frame in self.frames if frame.state == TrackingState.LOST]


def from_origin(
    poses: Sequence[StampedPose], edges: Sequence[EdgeRecord], T_odom_camera: Pose
) -> list[StampedPose]:
    """The poses, begun with that of the first keyframe, which is the origin and is not published.

    Args:
        poses: as published.
        edges: as published.
        T_odom_camera: where the camera starts.
    """
    if not edges or (poses and poses[0].stamp <= edges[0].previous_stamp):
        return list(poses)
    origin = PoseWithCovariance.exact(T_odom_camera)
    return [StampedPose(edges[0].previous_stamp, origin), *poses]


def frames_per_edge(edges: Sequence[EdgeRecord], image_stamps: Array) -> Array:
    """(E,) how many image intervals each edge spans."""
    tolerance = 1e-6
    ends = np.array([[edge.previous_stamp, edge.current_stamp] for edge in edges]).reshape(-1, 2)
    first, last = np.searchsorted(image_stamps, ends.T - tolerance)
    return np.maximum(last - first, 1).astype(np.float64)

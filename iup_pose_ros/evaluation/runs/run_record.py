"""Recorded outputs of one run of the visual odometry, live over DDS or offline. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.odometry.scaled_step import CARRIED_LENGTH, HELD_LENGTH


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """Result of one processed image.

    Attributes:
        stamp: seconds.
        state: tracking state after the image.
        reason: why tracking is in this state; may be empty.
        latency: seconds from sending the image to receiving the state; offline the processing time.
    """

    stamp: float
    state: TrackingState
    reason: str
    latency: float


@dataclass(frozen=True, eq=False)
class StampedPose:
    """``T_odom_camera`` at a stamp in seconds, with the covariance accumulated since the start of the run."""

    stamp: float
    T_odom_camera: PoseWithCovariance


@dataclass(frozen=True, eq=False)
class EdgeRecord:
    """Motion of the camera between two keyframes.

    Attributes:
        previous_stamp, current_stamp: seconds.
        T_prev_curr: motion, covariance in the previous camera frame.
        metric: whether the translation is in metres.
        inference_time: run time of the estimator, seconds.
        inlier_probability: probability of errors below 10 degrees; NaN if the estimator does not report it.
        scale_source: source of the length of the translation; empty if unknown.
    """

    previous_stamp: float
    current_stamp: float
    T_prev_curr: PoseWithCovariance
    metric: bool
    inference_time: float
    inlier_probability: float = math.nan
    scale_source: str = ""

    @property
    def has_carried_scale(self) -> bool:
        """Return whether the length follows from earlier ones, not from a measurement of the scale source."""
        return self.scale_source.endswith((HELD_LENGTH, CARRIED_LENGTH))


@dataclass(frozen=True, eq=False)
class RunRecord:
    """All outputs of one run in temporal order.

    Attributes:
        mode: "live" (node over DDS at the recorded rate), "recorded" (outputs of an earlier live run) or
            "offline" (every image, without ROS).
        estimator: name of the estimator.
        image_stamps: (N,) stamps in seconds of all input images, processed or not.
        frames: processed images.
        poses: published poses: images, and repeated poses while the camera is stationary.
        edges: keyframe edges.
        counters: final values of the node's counters, for example ``frames_dropped_busy``.
        notes: reasons why images were not processed, one sentence each without full stop.
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
        """Return the trajectory ``T_odom_camera`` of the published poses."""
        return Trajectory.from_poses(
            [pose.stamp for pose in self.poses], [pose.T_odom_camera.pose for pose in self.poses]
        )

    def share(self, *states: TrackingState) -> float:
        """Return the fraction of processed images with one of ``states``; NaN without images."""
        if not self.frames:
            return float("nan")
        return float(np.mean([frame.state in states for frame in self.frames]))

    @property
    def pose_share(self) -> float:
        """Return the fraction of processed images with a pose; NaN without images."""
        posed = {pose.stamp for pose in self.poses}
        return float(np.mean([frame.stamp in posed for frame in self.frames])) if self.frames else math.nan

    @property
    def frames_per_edge(self) -> Array:
        """Return the number of image intervals (E,) of each edge."""
        return frames_per_edge(self.edges, self.image_stamps)

    @property
    def metric(self) -> bool:
        """Return whether all edges are in metres; False without edges."""
        return bool(self.edges) and all(edge.metric for edge in self.edges)

    @property
    def lost_frames(self) -> list[FrameRecord]:
        """Return the images at which tracking was lost."""
        return [frame for frame in self.frames if frame.state == TrackingState.LOST]

    @property
    def failure(self) -> str:
        """Return why the run has no complete trajectory, one sentence; empty if it has one."""
        if not self.frames:
            return "no image was processed"
        last = self.frames[-1]
        if not self.poses:
            return f"no motion was measured; the tracker ended {last.state.name}: {last.reason}"
        lost = self.lost_frames
        if not lost:
            return ""
        after = lost[0].stamp - float(self.image_stamps[0])
        return (
            f"tracking was lost at {len(lost)} of {len(self.frames)} images, first after {after:.2f} s: "
            f"{lost[0].reason}"
        )


def from_origin(
    poses: Sequence[StampedPose], edges: Sequence[EdgeRecord], T_odom_camera: Pose
) -> list[StampedPose]:
    """Prepend the pose of the first keyframe, which the odometry does not publish.

    Args:
        poses: published poses.
        edges: published keyframe edges.
        T_odom_camera: pose of the first keyframe.
    """
    if not edges or (poses and poses[0].stamp <= edges[0].previous_stamp):
        return list(poses)
    origin = PoseWithCovariance.exact(T_odom_camera)
    return [StampedPose(edges[0].previous_stamp, origin), *poses]


def frames_per_edge(edges: Sequence[EdgeRecord], image_stamps: Array) -> Array:
    """Return the number of image intervals (E,) of each edge.

    Args:
        edges: E keyframe edges.
        image_stamps: (N,) increasing stamps of all images, seconds.
    """
    tolerance = 1e-6
    ends = np.array([[edge.previous_stamp, edge.current_stamp] for edge in edges]).reshape(-1, 2)
    first, last = np.searchsorted(image_stamps, ends.T - tolerance)
    return np.maximum(last - first, 1).astype(np.float64)

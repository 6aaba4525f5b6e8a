"""What one run of the visual odometry produced, over DDS or offline, and its errors. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation import trajectory as paths
from iup_pose_ros.evaluation.calibration import Consistency, direction_consistency, rotation_consistency
from iup_pose_ros.evaluation.trajectory import Trajectory
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry import TrackingState

# Ground truth this close in time to an image is taken as that image's (evo's default).
MAX_STAMP_DIFFERENCE = 0.01


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
    """Motion ``T_prev_curr`` of the camera between two keyframes, covariance in the previous frame."""

    previous_stamp: float
    current_stamp: float
    T_prev_curr: PoseWithCovariance
    metric: bool
    inference_time: float


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
    """

    mode: str
    estimator: str
    image_stamps: Array
    frames: Sequence[FrameRecord]
    poses: Sequence[StampedPose]
    edges: Sequence[EdgeRecord]
    counters: Mapping[str, int] = field(default_factory=dict)

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
        return _frames_per_edge(self.edges, self.image_stamps)

    @property
    def lost_frames(self) -> list[FrameRecord]:
        """The images at which tracking was lost."""
        return [frame for frame in self.frames if frame.state == TrackingState.LOST]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Errors against ground truth. Lengths are in the unit of the ground truth.

    Attributes:
        aligned: the estimate after Sim(3) alignment; None where it cannot be aligned.
        reference: the ground truth at the same stamps.
        ate: RMSE of the positions after Sim(3) alignment; NaN where there is no alignment.
        path_length: length of the ground truth's path between the first and the last evaluated pose.
        edge_errors: errors of the keyframe edges.
        rotation_per_frame_deg: (E,) rotation error of each edge by the image intervals that it spans.
        rotation: consistency of the edges' rotations.
        direction: consistency of the edges' directions of translation.
    """

    aligned: Trajectory | None
    reference: Trajectory
    ate: float
    path_length: float
    edge_errors: paths.RelativeErrors
    rotation_per_frame_deg: Array
    rotation: Consistency
    direction: Consistency


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


def evaluate_accuracy(record: RunRecord, ground_truth: Trajectory) -> Accuracy:
    """Errors of a run against the camera's true path ``T_world_camera``.

    Raises:
        DataError: no image of the run has a ground-truth pose within 10 ms.
    """
    if len(paths.associate(record.image_stamps, ground_truth.stamps, MAX_STAMP_DIFFERENCE)[0]) == 0:
        raise DataError(
            f"the ground truth ({_span(ground_truth.stamps)}) has no pose within "
            f"{MAX_STAMP_DIFFERENCE:g} s of any image ({_span(record.image_stamps)})"
        )
    estimate = record.trajectory
    own, true = paths.associate(estimate.stamps, ground_truth.stamps, MAX_STAMP_DIFFERENCE)
    estimate, reference = estimate.select(own), ground_truth.select(true)
    aligned = _aligned(estimate, reference)
    edges, motions = _edges_with_truth(record.edges, ground_truth)
    estimates = [edge.T_prev_curr for edge in edges]
    errors = paths.relative_errors([estimate.pose for estimate in estimates], motions)
    return Accuracy(
        aligned=aligned,
        reference=reference,
        ate=float("nan") if aligned is None else _ate(aligned, reference),
        path_length=reference.length,
        edge_errors=errors,
        rotation_per_frame_deg=errors.rotation_deg / _frames_per_edge(edges, record.image_stamps),
        rotation=rotation_consistency(estimates, motions),
        direction=direction_consistency(estimates, motions),
    )


def _aligned(estimate: Trajectory, reference: Trajectory) -> Trajectory | None:
    # A camera that stands still has no scale: then there is no trajectory error either.
    moves = len(estimate) > 0 and np.ptp(estimate.positions, axis=0).max() > 0.0
    if not moves:
        return None
    return paths.align(estimate.positions, reference.positions, with_scale=True).apply(estimate)


def _ate(aligned: Trajectory, reference: Trajectory) -> float:
    return paths.root_mean_square(paths.position_errors(aligned, reference))


def _edges_with_truth(
    edges: Sequence[EdgeRecord], ground_truth: Trajectory
) -> tuple[list[EdgeRecord], list[Pose]]:
    """The edges whose two ends have ground truth, and their true motions."""
    ends = np.unique([stamp for edge in edges for stamp in (edge.previous_stamp, edge.current_stamp)])
    known, true = paths.associate(ends, ground_truth.stamps, MAX_STAMP_DIFFERENCE)
    index_of = {float(ends[own]): int(other) for own, other in zip(known, true, strict=True)}
    usable = [edge for edge in edges if {edge.previous_stamp, edge.current_stamp} <= index_of.keys()]
    previous = np.array([index_of[edge.previous_stamp] for edge in usable], dtype=np.intp)
    current = np.array([index_of[edge.current_stamp] for edge in usable], dtype=np.intp)
    return usable, paths.relative_poses(ground_truth, previous, current)


def _frames_per_edge(edges: Sequence[EdgeRecord], image_stamps: Array) -> Array:
    tolerance = 1e-6
    ends = np.array([[edge.previous_stamp, edge.current_stamp] for edge in edges]).reshape(-1, 2)
    first, last = np.searchsorted(image_stamps, ends.T - tolerance)
    return np.maximum(last - first, 1).astype(np.float64)


def _span(stamps: Array) -> str:
    return f"{stamps[0]:.3f} to {stamps[-1]:.3f} s" if len(stamps) else "empty"

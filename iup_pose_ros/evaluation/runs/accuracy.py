"""Accuracy of a run compared with ground truth. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import (
    Consistency,
    direction_consistency,
    rotation_consistency,
)
from iup_pose_ros.evaluation.metrics.segments import SegmentErrors, distance_errors, kitti_errors
from iup_pose_ros.evaluation.metrics.trajectory_errors import (
    RelativeErrors,
    position_errors,
    relative_errors,
    relative_poses,
    root_mean_square,
)
from iup_pose_ros.evaluation.runs.drift import Drift, evaluate_drift
from iup_pose_ros.evaluation.runs.run_record import EdgeRecord, RunRecord, frames_per_edge
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Indices, Trajectory, align, associate

# In the unit of the ground truth.
RPE_DISTANCES = (1.0, 10.0)

# Ground truth is sampled at the stamps of the images; smaller differences are rounding errors. Seconds.
_STAMP_TOLERANCE = 1e-4
# For the check of the quaternion order.
_MIN_EDGES = 5
_IMPLAUSIBLE_DEG = 10.0


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Errors of a run compared with ground truth. Lengths are in the unit of the ground truth.

    Attributes:
        aligned: the estimated trajectory after Sim(3) alignment; None if it cannot be aligned.
        reference: the ground truth at the same stamps.
        ate: RMSE of the positions after Sim(3) alignment; NaN without alignment.
        ate_keyframes: the same, aligned and evaluated at the keyframes only.
        ate_rigid: RMSE of the positions after SE(3) alignment; NaN unless the run is metric.
        path_length: length of the ground-truth path between the first and the last evaluated pose.
        edges: the E keyframe edges with ground truth at both ends.
        motions: true motions ``T_prev_curr`` of these edges.
        edge_errors: errors of these edges.
        rotation_per_frame_deg: (E,) rotation error of each edge divided by its number of image intervals.
        rotation: consistency of the edges' rotations.
        direction: consistency of the edges' translation directions.
        by_distance: RPE for the distances of RPE_DISTANCES, after Sim(3) alignment.
        kitti: KITTI segment errors after Sim(3) alignment; empty if the path is shorter than 100 m.
        drift: error of the integrated pose over time.
    """

    aligned: Trajectory | None
    reference: Trajectory
    ate: float
    ate_keyframes: float
    ate_rigid: float
    path_length: float
    edges: Sequence[EdgeRecord]
    motions: Sequence[Pose]
    edge_errors: RelativeErrors
    rotation_per_frame_deg: Array
    rotation: Consistency
    direction: Consistency
    by_distance: Mapping[float, SegmentErrors]
    kitti: SegmentErrors
    drift: Drift


def evaluate_accuracy(record: RunRecord, ground_truth: Trajectory) -> Accuracy:
    """Evaluate a run against the true camera trajectory ``T_world_camera``.

    Raises:
        DataError: the ground truth does not cover any image of the run.
    """
    truth = ground_truth.at(record.image_stamps)
    if len(truth) == 0:
        raise DataError(
            f"the ground truth ({_time_range(ground_truth.stamps)}) has no pose at the time of any image "
            f"({_time_range(record.image_stamps)})"
        )
    own, true = associate(record.trajectory.stamps, truth.stamps, _STAMP_TOLERANCE)
    estimate, reference = record.trajectory.select(own), truth.select(true)
    aligned = _aligned(estimate, reference, with_scale=True)
    ends = [stamp for edge in record.edges for stamp in (edge.previous_stamp, edge.current_stamp)]
    at_keyframes, _ = associate(estimate.stamps, np.unique(ends), _STAMP_TOLERANCE)
    keyframes, at = estimate.select(at_keyframes), reference.select(at_keyframes)
    rigid = _aligned(estimate, reference, with_scale=False) if record.metric else None
    edges, motions = _edges_with_truth(record.edges, truth)
    estimates = [edge.T_prev_curr for edge in edges]
    errors = relative_errors([estimate.pose for estimate in estimates], motions)
    by_distance = {}
    if aligned is not None:
        by_distance = {length: distance_errors(aligned, reference, length) for length in RPE_DISTANCES}
    return Accuracy(
        aligned=aligned,
        reference=reference,
        ate=_ate(aligned, reference),
        ate_keyframes=_ate(_aligned(keyframes, at, with_scale=True), at),
        ate_rigid=_ate(rigid, reference),
        path_length=reference.length,
        edges=edges,
        motions=motions,
        edge_errors=errors,
        rotation_per_frame_deg=errors.rotation_deg / frames_per_edge(edges, record.image_stamps),
        rotation=rotation_consistency(estimates, motions),
        direction=direction_consistency(estimates, motions),
        by_distance=by_distance,
        kitti=kitti_errors(*((reference, reference) if aligned is None else (aligned, reference))),
        drift=evaluate_drift([record.poses[int(index)] for index in own], reference, record.metric),
    )


def check_quaternion_order(records: Sequence[RunRecord], given: Trajectory, reordered: Trajectory) -> None:
    """Reject ground truth whose quaternions are evidently in the order (w, x, y, z).

    The wrong order cannot be detected in the file: it preserves the norm of the quaternions and the angles
    between them. It shows as a disagreement with the estimated motions.

    Args:
        records: runs on the same images; the one with the lowest error is used.
        given: the ground truth with quaternions read as (x, y, z, w).
        reordered: the ground truth with quaternions read as (w, x, y, z).

    Raises:
        DataError: the estimated motions agree with ``reordered``, but not with ``given``.
    """
    usable = [record for record in records if len(record.edges) >= _MIN_EDGES]
    if not usable:
        return

    def median_error_deg(record: RunRecord, ground_truth: Trajectory) -> float:
        edges, motions = _edges_with_truth(record.edges, ground_truth.at(record.image_stamps))
        errors = relative_errors([edge.T_prev_curr.pose for edge in edges], motions)
        pose_errors = np.fmax(errors.rotation_deg, errors.direction_deg)
        return float(np.median(pose_errors)) if edges else 0.0

    as_given, as_reordered = (
        min(median_error_deg(record, trajectory) for record in usable) for trajectory in (given, reordered)
    )
    if as_reordered < _IMPLAUSIBLE_DEG < as_given and as_reordered < 0.5 * as_given:
        raise DataError(
            "the motion of the ground truth is implausible: between keyframes it differs from the estimated "
            f"motion by {as_given:.1f} deg (median), but only by {as_reordered:.1f} deg if its quaternions "
            "are in the order w x y z; the order x y z w is required"
        )


def _aligned(estimate: Trajectory, reference: Trajectory, with_scale: bool) -> Trajectory | None:
    # The scale of a trajectory without motion is undefined, and so is its error.
    moves = len(estimate) > 0 and np.ptp(estimate.positions, axis=0).max() > 0.0
    if not moves:
        return None
    return align(estimate.positions, reference.positions, with_scale).apply(estimate)


def _ate(aligned: Trajectory | None, reference: Trajectory) -> float:
    if aligned is None:
        return float("nan")
    return root_mean_square(position_errors(aligned, reference))


def _edges_with_truth(edges: Sequence[EdgeRecord], truth: Trajectory) -> tuple[list[EdgeRecord], list[Pose]]:
    """Return the edges with ground truth at both ends, and their true motions."""
    ends = np.unique([stamp for edge in edges for stamp in (edge.previous_stamp, edge.current_stamp)])
    known, true = associate(ends, truth.stamps, _STAMP_TOLERANCE)
    index_of = {float(ends[own]): int(other) for own, other in zip(known, true, strict=True)}
    usable = [edge for edge in edges if {edge.previous_stamp, edge.current_stamp} <= index_of.keys()]
    previous: Indices = np.array([index_of[edge.previous_stamp] for edge in usable], dtype=np.intp)
    current: Indices = np.array([index_of[edge.current_stamp] for edge in usable], dtype=np.intp)
    return usable, relative_poses(truth, previous, current)


def _time_range(stamps: Array) -> str:
    return f"{stamps[0]:.3f} to {stamps[-1]:.3f} s" if len(stamps) else "empty"

"""Errors of a run against ground truth. No I/O."""

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

# The truth is taken at the stamps of the images: what differs by less is rounding.
_ROUNDING = 1e-4
_FEWEST_EDGES = 5
_IMPLAUSIBLE_DEG = 10.0


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Errors against ground truth. Lengths are in the unit of the ground truth.

    Attributes:
        aligned: the estimate after Sim(3) alignment; None where it cannot be aligned.
        reference: the ground truth at the same stamps.
        ate: RMSE of the positions after Sim(3) alignment; NaN where there is no alignment.
        ate_rigid: the same after SE(3) alignment; NaN unless the run is metric.
        path_length: length of the ground truth's path between the first and the last evaluated pose.
        edges: the keyframe edges whose two ends have ground truth.
        motions: their true motions ``T_prev_curr``.
        edge_errors: their errors.
        rotation_per_frame_deg: (E,) rotation error of each edge by the image intervals that it spans.
        rotation: consistency of the edges' rotations.
        direction: consistency of the edges' directions of translation.
        by_distance: errors over the distances of RPE_DISTANCES, after Sim(3) alignment.
        kitti: errors over 100 to 800 m, after Sim(3) alignment; no segments on a shorter path.
        drift: error of the integrated pose over time.
    """

    aligned: Trajectory | None
    reference: Trajectory
    ate: float
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
    """Errors of a run against the camera's true path ``T_world_camera``.

    Raises:
        DataError: the ground truth tells the pose of no image of the run.
    """
    truth = _truth_at_images(record, ground_truth)
    own, true = associate(record.trajectory.stamps, truth.stamps, _ROUNDING)
    estimate, reference = record.trajectory.select(own), truth.select(true)
    aligned = _aligned(estimate, reference, with_scale=True)
    rigid = _aligned(estimate, reference, with_scale=False) if record.metric else None
    edges, motions = _edges_with_truth(record.edges, truth)
    estimates = [edge.T_prev_curr for edge in edges]
    errors = relative_errors([estimate.pose for estimate in estimates], motions)
    return Accuracy(
        aligned=aligned,
        reference=reference,
        ate=_ate(aligned, reference),
        ate_rigid=_ate(rigid, reference),
        path_length=reference.length,
        edges=edges,
        motions=motions,
        edge_errors=errors,
        rotation_per_frame_deg=errors.rotation_deg / frames_per_edge(edges, record.image_stamps),
        rotation=rotation_consistency(estimates, motions),
        direction=direction_consistency(estimates, motions),
        by_distance={}
        if aligned is None
        else {distance: distance_errors(aligned, reference, distance) for distance in RPE_DISTANCES},
        kitti=kitti_errors(*((reference, reference) if aligned is None else (aligned, reference))),
        drift=evaluate_drift([record.poses[int(index)] for index in own], reference, record.metric),
    )


def check_quaternion_order(records: Sequence[RunRecord], given: Trajectory, reordered: Trajectory) -> None:
    """Refuses ground truth whose quaternions are evidently in the order (w, x, y, z).

    Reordering keeps quaternions at unit length and the angles between them as they are; only the axes
    change. It takes a measured motion to tell: the images contradict the one order and fit the other.

    Args:
        records: runs on the images; the best of them counts.
        given: the ground truth with quaternions as (x, y, z, w).
        reordered: the same with quaternions as (w, x, y, z).

    Raises:
        DataError: the second order fits, the first does not.
    """
    telling = [record for record in records if len(record.edges) >= _FEWEST_EDGES]
    if not telling:
        return
    as_given, as_reordered = (
        min(_median_error_deg(record, trajectory) for record in telling) for trajectory in (given, reordered)
    )
    if as_reordered < _IMPLAUSIBLE_DEG < as_given and as_reordered < 0.5 * as_given:
        raise DataError(
            "the motion of the ground truth is implausible: between keyframes it differs from that in the "
            f"images by {as_given:.1f} deg (median), but by {as_reordered:.1f} deg if its quaternions are in "
            "the order w x y z; the order x y z w is needed"
        )


def _median_error_deg(record: RunRecord, ground_truth: Trajectory) -> float:
    """Median over the edges of the greater of rotation and direction error; 0 where none has truth."""
    edges, motions = _edges_with_truth(record.edges, ground_truth.at(record.image_stamps))
    if not edges:
        return 0.0
    errors = relative_errors([edge.T_prev_curr.pose for edge in edges], motions)
    return float(np.median(np.fmax(errors.rotation_deg, errors.direction_deg)))


def _truth_at_images(record: RunRecord, ground_truth: Trajectory) -> Trajectory:
    truth = ground_truth.at(record.image_stamps)
    if len(truth) == 0:
        raise DataError(
            f"the ground truth ({_span(ground_truth.stamps)}) has no pose at the time of any image "
            f"({_span(record.image_stamps)})"
        )
    return truth


def _aligned(estimate: Trajectory, reference: Trajectory, with_scale: bool) -> Trajectory | None:
    # A camera that stands still has no scale: then there is no trajectory error either.
    moves = len(estimate) > 0 and np.ptp(estimate.positions, axis=0).max() > 0.0
    if not moves:
        return None
    return align(estimate.positions, reference.positions, with_scale).apply(estimate)


def _ate(aligned: Trajectory | None, reference: Trajectory) -> float:
    if aligned is None:
        return float("nan")
    return root_mean_square(position_errors(aligned, reference))


def _edges_with_truth(edges: Sequence[EdgeRecord], truth: Trajectory) -> tuple[list[EdgeRecord], list[Pose]]:
    """The edges whose two ends have ground truth, and their true motions."""
    ends = np.unique([stamp for edge in edges for stamp in (edge.previous_stamp, edge.current_stamp)])
    known, true = associate(ends, truth.stamps, _ROUNDING)
    index_of = {float(ends[own]): int(other) for own, other in zip(known, true, strict=True)}
    usable = [edge for edge in edges if {edge.previous_stamp, edge.current_stamp} <= index_of.keys()]
    previous: Indices = np.array([index_of[edge.previous_stamp] for edge in usable], dtype=np.intp)
    current: Indices = np.array([index_of[edge.current_stamp] for edge in usable], dtype=np.intp)
    return usable, relative_poses(truth, previous, current)


def _span(stamps: Array) -> str:
    return f"{stamps[0]:.3f} to {stamps[-1]:.3f} s" if len(stamps) else "empty"

"""The keyframe edges of a run one by one, each with its error and the error that its covariance expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.evaluation.metrics.consistency import tangent_basis
from iup_pose_ros.evaluation.runs.accuracy import Accuracy
from iup_pose_ros.evaluation.runs.run_record import EdgeRecord, RunRecord
from iup_pose_ros.geometry.pose import PoseWithCovariance

_NO_MOTION = 1e-9


@dataclass(frozen=True)
class EdgeRow:
    """One keyframe edge. NaN where a value does not exist: errors without ground truth, directions at rest,
    probabilities of estimators that tell none.

    Attributes:
        previous_stamp: seconds.
        current_stamp: seconds.
        frames: image intervals that it spans.
        rotation_error_deg: error of the rotation.
        direction_error_deg: error of the direction of translation, 0 to 180.
        rotation_sigma_deg: standard deviation of the rotation per axis, as estimated.
        direction_sigma_deg: of the direction, per axis of its tangent plane.
        inlier_probability: probability of errors below 10 degrees, as estimated.
    """

    previous_stamp: float
    current_stamp: float
    frames: int
    rotation_error_deg: float
    direction_error_deg: float
    rotation_sigma_deg: float
    direction_sigma_deg: float
    inlier_probability: float

    @property
    def badness_deg(self) -> float:
        """By which the worst edges are chosen: the greater error or, without ground truth, greater sigma."""
        error = float(np.fmax(self.rotation_error_deg, self.direction_error_deg))
        sigma = float(np.fmax(self.rotation_sigma_deg, self.direction_sigma_deg))
        return sigma if math.isnan(error) else error


def edge_rows(record: RunRecord, accuracy: Accuracy | None) -> list[EdgeRow]:
    """All edges of a run, in order of time."""
    errors: dict[float, tuple[float, float]] = {}
    if accuracy is not None:
        found = zip(accuracy.edge_errors.rotation_deg, accuracy.edge_errors.direction_deg, strict=True)
        errors = {
            edge.current_stamp: (float(rotation), float(direction))
            for edge, (rotation, direction) in zip(accuracy.edges, found, strict=True)
        }
    unknown = (math.nan, math.nan)
    return [
        _row(edge, int(frames), *errors.get(edge.current_stamp, unknown))
        for edge, frames in zip(record.edges, record.frames_per_edge, strict=True)
    ]


def worst(rows: Sequence[EdgeRow], count: int) -> list[EdgeRow]:
    """The worst edges, the worst first; of equal ones the earlier."""
    return sorted(rows, key=lambda row: (-row.badness_deg, row.current_stamp))[:count]


def _row(edge: EdgeRecord, frames: int, rotation_error: float, direction_error: float) -> EdgeRow:
    rotation_variance = np.trace(edge.T_prev_curr.covariance[3:, 3:]) / 3.0
    return EdgeRow(
        previous_stamp=edge.previous_stamp,
        current_stamp=edge.current_stamp,
        frames=frames,
        rotation_error_deg=rotation_error,
        direction_error_deg=direction_error,
        rotation_sigma_deg=math.degrees(math.sqrt(rotation_variance)),
        direction_sigma_deg=_direction_sigma_deg(edge.T_prev_curr),
        inlier_probability=edge.inlier_probability,
    )


def _direction_sigma_deg(motion: PoseWithCovariance) -> float:
    length = float(np.linalg.norm(motion.pose.translation))
    if length < _NO_MOTION:
        return math.nan
    basis = tangent_basis(motion.pose.translation)
    variance = np.trace(basis.T @ motion.covariance[:3, :3] @ basis) / 2.0
    return math.degrees(math.sqrt(variance) / length)

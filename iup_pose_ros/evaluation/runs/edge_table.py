"""Errors and sigmas of each keyframe edge of a run. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.evaluation.runs.accuracy import Accuracy
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.pose import NO_MOTION, PoseWithCovariance, tangent_basis


@dataclass(frozen=True)
class EdgeRow:
    """Errors of one keyframe edge; NaN without ground truth, and for the direction of a zero translation.

    Attributes:
        previous_stamp, current_stamp: seconds.
        frames: number of image intervals between the keyframes.
        rotation_error_deg: rotation error, 0 to 180.
        direction_error_deg: error of the translation direction, 0 to 180.
        rotation_sigma_deg: reported standard deviation of the rotation, per axis.
        direction_sigma_deg: reported standard deviation of the direction, per axis of the tangent plane.
        inlier_probability: reported probability that both errors are below 10 degrees; NaN where the
            estimator does not report it.
        metric: whether the length is in metres.
        scale_source: source of the length; empty if unknown.
    """

    previous_stamp: float
    current_stamp: float
    frames: int
    rotation_error_deg: float
    direction_error_deg: float
    rotation_sigma_deg: float
    direction_sigma_deg: float
    inlier_probability: float
    metric: bool
    scale_source: str

    @property
    def ranking_error_deg(self) -> float:
        """Return the maximum of rotation and direction error or, without ground truth, of their sigmas."""
        error = float(np.fmax(self.rotation_error_deg, self.direction_error_deg))
        sigma = float(np.fmax(self.rotation_sigma_deg, self.direction_sigma_deg))
        return sigma if math.isnan(error) else error


def edge_rows(record: RunRecord, accuracy: Accuracy | None) -> list[EdgeRow]:
    """Return the rows of all edges of a run in temporal order."""
    errors: dict[float, tuple[float, float]] = {}
    if accuracy is not None:
        found = zip(accuracy.edge_errors.rotation_deg, accuracy.edge_errors.direction_deg, strict=True)
        errors = {
            edge.current_stamp: (float(rotation), float(direction))
            for edge, (rotation, direction) in zip(accuracy.edges, found, strict=True)
        }
    unknown = (math.nan, math.nan)
    return [
        EdgeRow(
            edge.previous_stamp,
            edge.current_stamp,
            int(frames),
            *errors.get(edge.current_stamp, unknown),
            *sigmas_deg(edge.T_prev_curr),
            edge.inlier_probability,
            edge.metric,
            edge.scale_source,
        )
        for edge, frames in zip(record.edges, record.frames_per_edge, strict=True)
    ]


def worst(rows: Sequence[EdgeRow], count: int) -> list[EdgeRow]:
    """Return the ``count`` edges with the largest ranking error in descending order; ties by stamp."""
    return sorted(rows, key=lambda row: (-row.ranking_error_deg, row.current_stamp))[:count]


def sigmas_deg(motion: PoseWithCovariance) -> tuple[float, float]:
    """Return the RMS sigma per axis of the rotation and of the direction, degrees; NaN without direction."""
    rotation_sigma = math.sqrt(np.trace(motion.covariance[3:, 3:]) / 3.0)
    direction_sigma = math.nan
    length = float(np.linalg.norm(motion.pose.translation))
    if length >= NO_MOTION:
        basis = tangent_basis(motion.pose.translation / length)
        variance = np.trace(basis.T @ motion.covariance[:3, :3] @ basis) / 2.0
        direction_sigma = math.sqrt(variance) / length
    return math.degrees(rotation_sigma), math.degrees(direction_sigma)

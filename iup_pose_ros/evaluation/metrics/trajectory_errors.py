"""Errors of an estimated trajectory against ground truth: ATE after alignment and RPE. No I/O.

Source: Sturm et al., "A benchmark for the evaluation of RGB-D SLAM systems", IROS 2012 (ATE, RPE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.evaluation.metrics.pair_errors import direction_error_deg, rotation_error_deg
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Indices, Trajectory


@dataclass(frozen=True, eq=False)
class RelativeErrors:
    """Errors of E relative poses.

    Attributes:
        rotation_deg: (E,) rotation angle between estimate and ground truth.
        direction_deg: (E,) angle between the translation directions, 0 to 180; NaN for zero translation.
    """

    rotation_deg: Array
    direction_deg: Array


def position_errors(estimate: Trajectory, reference: Trajectory) -> Array:
    """Return the distances (N,) between the positions of two associated and aligned trajectories."""
    return np.linalg.norm(estimate.positions - reference.positions, axis=1)


def root_mean_square(errors: Array) -> float:
    """Return the RMSE of errors (N,), ignoring NaN; NaN if no error is left."""
    valid = errors[~np.isnan(errors)]
    return float(np.sqrt(np.mean(valid**2))) if len(valid) else float("nan")


def relative_poses(trajectory: Trajectory, previous: Indices, current: Indices) -> list[Pose]:
    """Return ``T_prev_curr`` of the body for pairs of trajectory indices, each (E,)."""
    pairs = zip(previous, current, strict=True)
    return [trajectory.pose(int(i)).inverse() @ trajectory.pose(int(j)) for i, j in pairs]


def relative_errors(estimates: Sequence[Pose], references: Sequence[Pose]) -> RelativeErrors:
    """Compute the errors of relative poses ``T_prev_curr`` against their true values."""
    pairs = list(zip(estimates, references, strict=True))
    return RelativeErrors(
        np.array([rotation_error_deg(estimate, reference) for estimate, reference in pairs]),
        np.array([direction_error_deg(estimate, reference) for estimate, reference in pairs]),
    )

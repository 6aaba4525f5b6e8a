"""Errors of an estimated trajectory against ground truth: ATE after alignment, RPE of pairs of poses. No I/O.

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
    """Errors of relative poses, one per pair.

    Attributes:
        rotation_deg: (E,) angle of the rotation between estimate and truth.
        direction_deg: (E,) angle between the directions of translation, 0 to 180; NaN without motion.
    """

    rotation_deg: Array
    direction_deg: Array


def position_errors(estimate: Trajectory, reference: Trajectory) -> Array:
    """Distances (N,) between positions of two trajectories that are associated and aligned."""
    return np.linalg.norm(estimate.positions - reference.positions, axis=1)


def root_mean_square(errors: Array) -> float:
    """RMSE of errors (N,), NaN ones left out; NaN where none is left."""
    valid = errors[~np.isnan(errors)]
    return float(np.sqrt(np.mean(valid**2))) if len(valid) else float("nan")


def relative_poses(trajectory: Trajectory, previous: Indices, current: Indices) -> list[Pose]:
    """``T_prev_curr`` of the body for pairs of indices into the trajectory."""
    pairs = zip(previous, current, strict=True)
    return [trajectory.pose(int(i)).inverse() @ trajectory.pose(int(j)) for i, j in pairs]


def relative_errors(estimates: Sequence[Pose], references: Sequence[Pose]) -> RelativeErrors:
    """Errors of relative poses ``T_prev_curr`` against their true values, pair by pair."""
    pairs = list(zip(estimates, references, strict=True))
    return RelativeErrors(
        np.array([rotation_error_deg(estimate, reference) for estimate, reference in pairs]),
        np.array([direction_error_deg(estimate, reference) for estimate, reference in pairs]),
    )

"""Drift of the integrated pose over time and consistency of its accumulated covariance. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import Consistency
from iup_pose_ros.evaluation.runs.run_record import StampedPose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import NO_MOTION, Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Drift:
    """Errors of the integrated poses, in the axes of the odometry frame.

    The trajectories are aligned at the first pose with ground truth only, as a user of the odometry does, and
    not over the whole path. Non-metric trajectories are scaled such that the RMS distance from the start is
    that of the ground truth; other than a least-squares scale, this does not shrink a trajectory that drifts
    in a wrong direction.

    Attributes:
        stamps: (N,) seconds.
        position: (N, 3) true minus estimated position, in the unit of the ground truth.
        rotation: (N, 3) rotation vector from the estimated to the true orientation, radians.
        position_sigma: (N, 3) reported standard deviations of the position, in the unit of the ground truth.
        rotation_sigma: (N, 3) reported standard deviations of the rotation, radians.
        position_consistency: NEES of the positions, 3 degrees of freedom.
        rotation_consistency: NEES of the rotations, 3 degrees of freedom.
    """

    stamps: Array
    position: Array
    rotation: Array
    position_sigma: Array
    rotation_sigma: Array
    position_consistency: Consistency
    rotation_consistency: Consistency


def evaluate_drift(poses: Sequence[StampedPose], reference: Trajectory, metric: bool) -> Drift:
    """Compute the drift of published poses.

    Args:
        poses: published poses ``T_odom_camera``.
        reference: true ``T_world_camera`` at the same stamps.
        metric: whether the poses are in the unit of the ground truth; otherwise they are scaled.

    Raises:
        DataError: a covariance is not positive definite.
    """
    if len(poses) < 2:
        return _no_drift()
    start = poses[0].T_odom_camera.pose
    origin = reference.pose(0).inverse()
    motions = [origin @ reference.pose(index) for index in range(len(reference))]
    estimates = [pose.T_odom_camera for pose in poses]
    scale = 1.0
    if not metric:
        distances = [(start.inverse() @ estimate.pose).translation for estimate in estimates]
        found = float(np.linalg.norm(distances))
        true = float(np.linalg.norm([motion.translation for motion in motions]))
        if found <= NO_MOTION or true == 0.0:
            return _no_drift()
        scale = true / found
    truths = [start @ Pose(motion.rotation, motion.translation / scale) for motion in motions]
    pairs = list(zip(estimates, truths, strict=True))
    position = np.array([truth.translation - estimate.pose.translation for estimate, truth in pairs])
    rotation = so3.log(np.array([truth.rotation @ estimate.pose.rotation.T for estimate, truth in pairs]))
    covariances = np.array([estimate.covariance for estimate in estimates])
    sigmas = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    # Alignment makes the errors of the first pose zero; skip all poses that still have its covariance.
    evaluated = (covariances != covariances[0]).any(axis=(1, 2))
    return Drift(
        stamps=np.array([pose.stamp for pose in poses]),
        position=scale * position,
        rotation=rotation,
        position_sigma=scale * sigmas[:, :3],
        rotation_sigma=sigmas[:, 3:],
        position_consistency=_consistency(position[evaluated], covariances[evaluated, :3, :3], "position"),
        rotation_consistency=_consistency(rotation[evaluated], covariances[evaluated, 3:, 3:], "rotation"),
    )


def _no_drift() -> Drift:
    empty, unknown = np.zeros((0, 3)), Consistency(np.zeros(0), dof=3)
    return Drift(np.zeros(0), empty, empty, empty, empty, unknown, unknown)


def _consistency(errors: Array, covariances: Array, part: str) -> Consistency:
    try:
        factors = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as failure:
        raise DataError(f"an accumulated covariance of the {part} is not positive definite") from failure
    whitened = np.linalg.solve(factors, errors[..., None])[..., 0]
    return Consistency((whitened**2).sum(axis=1), dof=3)

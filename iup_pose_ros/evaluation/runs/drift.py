"""Error of the integrated pose over time, and whether its accumulated covariance is true. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import Consistency
from iup_pose_ros.evaluation.runs.run_record import StampedPose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.directions import NO_MOTION
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.geometry.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Drift:
    """Errors of the poses since the first one that has ground truth, in the axes of the odometry frame.

    Truth and estimate are laid upon each other in that first pose alone, as a user of the odometry does,
    not over the whole path. Unless the odometry is metric, its unit is set so that both are equally far from
    the start (root mean square): a path that leads elsewhere is neither shrunk nor turned round by that.

    Attributes:
        stamps: (N,) seconds.
        position: (N, 3) true minus estimated position, in the unit of the ground truth.
        rotation: (N, 3) rotation vector that leads from the estimated to the true orientation, radians.
        position_sigma: (N, 3) standard deviations that the odometry gives for the position.
        rotation_sigma: (N, 3) for the rotation.
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
    """Drift of published poses.

    Args:
        poses: as published, ``T_odom_camera``.
        reference: true ``T_world_camera`` at the same stamps.
        metric: whether the poses are in the unit of the ground truth.

    Raises:
        DataError: a covariance is not positive definite.
    """
    if len(poses) < 2:
        return _no_drift()
    start = poses[0].T_odom_camera.pose
    origin = reference.pose(0).inverse()
    motions = [origin @ reference.pose(index) for index in range(len(reference))]
    estimates = [pose.T_odom_camera for pose in poses]
    scale = 1.0 if metric else _scale([start.inverse() @ each.pose for each in estimates], motions)
    if scale == 0.0:
        return _no_drift()
    truths = [start @ Pose(motion.rotation, motion.translation / scale) for motion in motions]
    pairs = list(zip(estimates, truths, strict=True))
    position = np.array([true.translation - found.pose.translation for found, true in pairs])
    rotation = so3.log(np.array([true.rotation @ found.pose.rotation.T for found, true in pairs]))
    covariances = np.array([found.covariance for found in estimates])
    sigmas = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    # Both were laid upon each other in the first pose; until a step is measured its nominal covariance stays.
    judged = (covariances != covariances[0]).any(axis=(1, 2))
    return Drift(
        stamps=np.array([pose.stamp for pose in poses]),
        position=scale * position,
        rotation=rotation,
        position_sigma=scale * sigmas[:, :3],
        rotation_sigma=sigmas[:, 3:],
        position_consistency=_consistency(position[judged], covariances[judged, :3, :3], "position"),
        rotation_consistency=_consistency(rotation[judged], covariances[judged, 3:, 3:], "rotation"),
    )


def _no_drift() -> Drift:
    nothing, unknown = np.zeros((0, 3)), Consistency(np.zeros(0), dof=3)
    return Drift(np.zeros(0), nothing, nothing, nothing, nothing, unknown, unknown)


def _scale(estimates: Sequence[Pose], truths: Sequence[Pose]) -> float:
    """Length of the estimates' unit; 0 where they or the truth do not move."""
    found, true = (
        float(np.linalg.norm([pose.translation for pose in poses])) for poses in (estimates, truths)
    )
    return true / found if found > NO_MOTION else 0.0


def _consistency(errors: Array, covariances: Array, part: str) -> Consistency:
    try:
        factors = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError as failure:
        raise DataError(f"an accumulated covariance of the {part} is not positive definite") from failure
    whitened = np.linalg.solve(factors, errors[..., None])[..., 0]
    return Consistency((whitened**2).sum(axis=1), dof=3)

"""Drift of simulated odometry with a consistent and with an over-confident covariance."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.runs.drift import Drift, evaluate_drift
from iup_pose_ros.evaluation.runs.run_record import StampedPose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.trajectory import Trajectory

STEPS, RUNS = 12, 60
SIGMA_R, SIGMA_T = 0.004, 0.01
STEP = Pose(so3.exp(np.array([0.01, 0.05, 0.0])), np.array([0.1, 0.0, 1.0]))
T_WORLD_START = Pose(so3.exp(np.array([0.3, -1.1, 0.8])), np.array([5.0, -2.0, 1.0]))


def simulated(
    seed: int, overconfidence: float = 1.0, unit: float = 1.0
) -> tuple[list[StampedPose], Trajectory]:
    """Return odometry whose covariance is too small by ``overconfidence``^2, and the true trajectory."""
    rng = np.random.default_rng(seed)
    covariance = np.diag([(unit * SIGMA_T) ** 2] * 3 + [SIGMA_R**2] * 3)
    pose = PoseWithCovariance(Pose.identity(), 1e-12 * np.eye(6))
    poses, truth = [StampedPose(0.0, pose)], [T_WORLD_START]
    for index in range(1, STEPS + 1):
        wrong = Pose(
            so3.exp(SIGMA_R * rng.normal(size=3)) @ STEP.rotation,
            unit * (STEP.translation + SIGMA_T * rng.normal(size=3)),
        )
        pose = pose @ PoseWithCovariance(wrong, covariance / overconfidence**2)
        poses.append(StampedPose(float(index), pose))
        truth.append(truth[-1] @ STEP)
    return poses, Trajectory.from_poses(np.arange(STEPS + 1.0), truth)


def last_nees(drifts: list[Drift]) -> tuple[float, float]:
    """Return the mean NEES of position and rotation at the last pose, where runs are independent samples."""
    ends = [(d.position_consistency.nees[-1], d.rotation_consistency.nees[-1]) for d in drifts]
    position, rotation = np.mean(ends, axis=0)
    return float(position), float(rotation)


def test_consistent_covariance_gives_the_nominal_nees() -> None:
    drifts = [evaluate_drift(*simulated(seed), metric=True) for seed in range(RUNS)]
    position, rotation = last_nees(drifts)
    # Four standard deviations of the mean of RUNS chi-square variables with 3 degrees of freedom.
    tolerance = 4.0 * np.sqrt(6.0 / RUNS)
    assert position == pytest.approx(3.0, abs=tolerance)
    assert rotation == pytest.approx(3.0, abs=tolerance)
    overconfident = [
        evaluate_drift(*simulated(seed, overconfidence=3.0), metric=True) for seed in range(RUNS)
    ]
    assert last_nees(overconfident) == pytest.approx((9.0 * position, 9.0 * rotation), rel=1e-3)


def test_non_metric_trajectories_are_scaled_to_the_unit_of_the_ground_truth() -> None:
    metric = evaluate_drift(*simulated(3), metric=True)
    relative = evaluate_drift(*simulated(3, unit=0.2), metric=False)
    np.testing.assert_allclose(relative.rotation, metric.rotation, atol=1e-9)
    np.testing.assert_allclose(relative.position_sigma, metric.position_sigma, rtol=0.05, atol=1e-5)
    # The scale absorbs a part of the error.
    assert np.linalg.norm(relative.position) <= 1.2 * np.linalg.norm(metric.position)
    assert len(relative.position_consistency.nees) == STEPS


def test_poses_with_the_initial_nominal_covariance_are_skipped() -> None:
    poses, truth = simulated(5)
    waiting = [StampedPose(-2.0 + i, poses[0].T_odom_camera) for i in range(2)]
    small_rotation = Pose(so3.exp(np.array([1e-3, 0.0, 0.0])), np.zeros(3))
    before = [truth.pose(0), truth.pose(0) @ small_rotation]
    stamps = np.arange(-2.0, STEPS + 1.0)
    whole = Trajectory.from_poses(stamps, before + [truth.pose(i) for i in range(STEPS + 1)])
    drift = evaluate_drift(waiting + poses, whole, metric=True)
    assert len(drift.stamps) == STEPS + 3
    expected = evaluate_drift(poses, truth, metric=True).rotation_consistency.nees
    np.testing.assert_allclose(drift.rotation_consistency.nees, expected)


def test_errors_are_in_the_axes_of_the_odometry_frame() -> None:
    poses, truth = simulated(0)
    ahead = Pose(np.eye(3), np.array([0.0, 0.0, 0.5]))
    start = poses[0].T_odom_camera.pose
    exact = [
        PoseWithCovariance(start @ (truth.pose(0).inverse() @ truth.pose(i)), np.eye(6)) for i in range(3)
    ]
    late = PoseWithCovariance(Pose(exact[2].pose.rotation, (ahead @ exact[2].pose).translation), np.eye(6))
    given = [StampedPose(float(i), pose) for i, pose in enumerate([exact[0], exact[1], late])]
    drift = evaluate_drift(given, truth.select([0, 1, 2]), metric=True)
    np.testing.assert_allclose(drift.position, np.diag([0.0, 0.0, -0.5]), atol=1e-12)
    np.testing.assert_allclose(drift.rotation, 0.0, atol=1e-12)


def test_camera_at_rest_has_no_drift() -> None:
    poses, truth = simulated(0)
    still = [StampedPose(pose.stamp, poses[0].T_odom_camera) for pose in poses]
    assert len(evaluate_drift(still, truth, metric=False).stamps) == 0
    assert np.isnan(evaluate_drift([], truth, metric=False).position_consistency.mean)


def test_covariance_that_is_not_positive_definite_is_refused() -> None:
    poses, truth = simulated(0)
    flat = PoseWithCovariance(poses[4].T_odom_camera.pose, np.zeros((6, 6)))
    poses[4] = StampedPose(4.0, flat)
    with pytest.raises(DataError, match="accumulated covariance of the position is not positive definite"):
        evaluate_drift(poses, truth, metric=True)


def test_trajectory_in_the_opposite_direction_is_not_compensated_by_the_scale() -> None:
    poses, truth = simulated(0)
    backwards = [
        StampedPose(
            pose.stamp,
            PoseWithCovariance(
                Pose(pose.T_odom_camera.pose.rotation, -0.5 * pose.T_odom_camera.pose.translation),
                pose.T_odom_camera.covariance,
            ),
        )
        for pose in poses
    ]
    drift = evaluate_drift(backwards, truth, metric=False)
    travelled = np.linalg.norm(truth.positions[-1] - truth.positions[0])
    assert np.linalg.norm(drift.position[-1]) == pytest.approx(2.0 * travelled, rel=0.05)

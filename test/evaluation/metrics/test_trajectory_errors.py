"""Trajectory errors, compared with evo and with known values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.evaluation.metrics.trajectory_errors import (
    position_errors,
    relative_errors,
    relative_poses,
    root_mean_square,
)
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory, align


def random_trajectory(seed: int, count: int = 40) -> Trajectory:
    """Return a random walk with random orientations."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(size=(count, 3)), axis=0)
    return Trajectory(np.linspace(0.0, 4.0, count), Rotation.random(count, rng=rng).as_matrix(), positions)


def disturbed(reference: Trajectory, seed: int, scale: float = 0.4) -> Trajectory:
    """Return the trajectory in another world frame and unit, with noise on each pose."""
    rng = np.random.default_rng(seed)
    world = Rotation.random(rng=rng).as_matrix()
    noise = Rotation.from_rotvec(rng.normal(size=(len(reference), 3)) * 0.03).as_matrix()
    positions = reference.positions + rng.normal(size=reference.positions.shape) * 0.05
    return Trajectory(
        reference.stamps,
        world @ reference.rotations @ noise,
        scale * positions @ world.T + rng.normal(size=3),
    )


@pytest.mark.parametrize("with_scale", [True, False])
def test_absolute_error_agrees_with_evo(with_scale: bool) -> None:
    metrics = pytest.importorskip("evo.core.metrics", reason="evo, the oracle of this test, is not installed")
    reference = random_trajectory(3)
    estimate = disturbed(reference, 4, scale=0.4 if with_scale else 1.0)
    oracle_estimate, oracle_reference = to_evo(estimate), to_evo(reference)
    oracle_estimate.align(oracle_reference, correct_scale=with_scale)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((oracle_reference, oracle_estimate))
    aligned = align(estimate.positions, reference.positions, with_scale).apply(estimate)
    errors = position_errors(aligned, reference)
    np.testing.assert_allclose(errors, ape.error, atol=1e-9)
    assert root_mean_square(errors) == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse))


def test_relative_rotation_error_agrees_with_evo() -> None:
    metrics = pytest.importorskip("evo.core.metrics", reason="evo, the oracle of this test, is not installed")
    reference = random_trajectory(5)
    estimate = disturbed(reference, 6)
    rpe = metrics.RPE(metrics.PoseRelation.rotation_angle_deg, delta=1, all_pairs=False)
    rpe.process_data((to_evo(reference), to_evo(estimate)))
    previous = np.arange(len(reference) - 1)
    errors = relative_errors(
        relative_poses(estimate, previous, previous + 1),
        relative_poses(reference, previous, previous + 1),
    )
    np.testing.assert_allclose(errors.rotation_deg, rpe.error, atol=1e-6)


def test_directions_are_unfolded_and_ignore_length() -> None:
    forward = Pose(np.eye(3), np.array([0.0, 0.0, 2.0]))
    backward = Pose(np.eye(3), np.array([0.0, 0.0, -1.0]))
    sideways = Pose(np.eye(3), np.array([0.5, 0.0, 0.0]))
    still = Pose.identity()
    errors = relative_errors([forward, sideways, forward, still], [backward, forward, forward, forward])
    np.testing.assert_allclose(errors.direction_deg, [180.0, 90.0, 0.0, np.nan], atol=1e-9)
    assert root_mean_square(errors.direction_deg) == pytest.approx(np.sqrt((180.0**2 + 90.0**2) / 3))


def to_evo(trajectory: Trajectory):
    """Convert to evo's trajectory type."""
    from evo.core.trajectory import PoseTrajectory3D

    quaternions = Rotation.from_matrix(trajectory.rotations).as_quat(scalar_first=True)
    return PoseTrajectory3D(trajectory.positions.copy(), quaternions, trajectory.stamps.copy())

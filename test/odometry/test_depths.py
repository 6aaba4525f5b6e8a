from __future__ import annotations

import numpy as np
import pytest
from odometry_scenes import Cloud, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import (
    InverseDepths,
    pose_jacobian,
    step_length,
    translation_from_depths,
)
from iup_pose_ros.odometry.track_geometry import step_depths


def drawn_lengths(length: float, outliers: int, trials: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Estimated lengths and their sigmas where both sides of the regression are noisy."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(trials):
        rho = rng.uniform(0.05, 0.4, 150)
        known = InverseDepths.independent(
            np.arange(150), rho + rng.normal(0, 0.05, 150), np.full(150, 1 / 0.05**2)
        )
        mu = length * rho + rng.normal(0, 0.03, 150)
        mu[:outliers] += rng.uniform(1.0, 3.0, outliers)
        result = step_length(mu, np.full(150, 0.03**2), known)
        found.append((result.length, result.sigma))
    lengths, sigmas = np.array(found).T
    return lengths, sigmas


@pytest.mark.parametrize("length", [0.2, 1.0, 3.0])
def test_step_length_is_unbiased_though_known_depths_are_noisy(length: float):
    lengths, _ = drawn_lengths(length, outliers=0)
    assert abs(lengths.mean() / length - 1.0) < 0.01


def test_sigma_of_step_length_is_the_scatter_of_step_lengths():
    lengths, sigmas = drawn_lengths(1.0, outliers=0)
    assert 0.8 < np.mean(((lengths - 1.0) / sigmas) ** 2) < 1.4


def test_step_length_withstands_a_quarter_of_outliers():
    lengths, _ = drawn_lengths(1.0, outliers=37)
    assert abs(lengths.mean() - 1.0) < 0.05


def test_depths_follow_the_camera():
    cloud = Cloud(50)
    T = pose(0.3, -0.1, 0.8, (0.02, 0.05, 0.1))
    rays = cloud.rays(Pose.identity(), T)
    known = InverseDepths.independent(rays.ids, 1.0 / cloud.points[:, 2], np.full(50, 1e4))
    moved = known.moved(rays.previous, T)
    np.testing.assert_allclose(1.0 / moved.inverse, T.inverse().apply(cloud.points)[:, 2], rtol=1e-9)
    step = 1e-6
    varied = InverseDepths.independent(rays.ids, known.inverse + step, known.information).moved(
        rays.previous, T
    )
    derivative = (varied.inverse - moved.inverse) / step
    np.testing.assert_allclose(moved.information, known.information / derivative**2, rtol=1e-3)


def test_points_behind_the_camera_are_forgotten():
    known = InverseDepths.independent(np.array([1]), np.array([0.5]), np.array([100.0]))
    assert known.moved(np.array([[0.0, 0.0, 1.0]]), pose(z=3.0)).information[0] == 0.0


def test_fusion_is_the_mean_weighted_by_information_and_contradiction_forgets():
    known = InverseDepths.independent(
        np.array([1, 2, 3]), np.array([1.0, 1.0, 0.0]), np.array([4e2, 4e2, 0.0])
    )
    fused = known.fused(np.array([1.1, 2.0, 0.7]), np.array([4e2, 4e2, 50.0]))
    np.testing.assert_allclose(fused.inverse[[0, 2]], [1.05, 0.7])
    np.testing.assert_allclose(fused.information, [8e2, 0.0, 50.0])


def test_knowledge_is_found_by_track_number():
    known = InverseDepths.independent(
        np.array([2, 5, 9]), np.array([0.2, 0.5, 0.9]), np.array([1.0, 2.0, 3.0])
    )
    some = known.of(np.array([1, 5, 9, 11]))
    np.testing.assert_array_equal(some.inverse, [0.0, 0.5, 0.9, 0.0])
    np.testing.assert_array_equal(some.information, [0.0, 2.0, 3.0, 0.0])


def test_pose_jacobian_predicts_how_a_wrong_pose_changes_the_length():
    cloud = Cloud(100)
    T = pose(0.8, 0.0, 0.6, (0.0, 0.05, 0.0))
    rays = cloud.rays(Pose.identity(), T)
    known = InverseDepths.independent(rays.ids, 1.0 / cloud.points[:, 2], np.full(100, 1e6))

    def length(relative: Pose):
        depths = step_depths(rays, relative)
        return step_length(depths.inverse, (0.3 * depths.sensitivity) ** 2, known)

    direction = T.translation / np.linalg.norm(T.translation)
    nominal = Pose(T.rotation, direction)
    jacobian = pose_jacobian(
        length(nominal).weights, lambda other: step_depths(rays, other), nominal, step_depths(rays, nominal)
    )
    error = np.array([0.002, -0.001, 0.0, 0.0005, 0.001, -0.0007])
    tilted = direction + error[:3]
    wrong = Pose(so3.exp(error[3:]) @ T.rotation, tilted / np.linalg.norm(tilted))
    change = length(wrong).length - length(nominal).length
    assert abs(change) > 1e-4
    assert jacobian @ error == pytest.approx(change, rel=0.2)


@pytest.mark.parametrize("move", [(0.0, 0.0, 0.0), (0.01, 0.0, -0.02)])
def test_small_translation_from_depths_is_unbiased_with_honest_covariance(move: tuple[float, float, float]):
    cloud = Cloud(150, noise=0.3)
    T = pose(*move, turn=(0.0, 0.1, 0.0))
    rng = np.random.default_rng(1)
    rotation_covariance = 0.0005**2 * np.eye(3)
    errors, squares = [], []
    for _ in range(150):
        rays = cloud.rays(Pose.identity(), T)
        rho = 1.0 / cloud.points[:, 2]
        known = InverseDepths.independent(
            rays.ids, rho * (1 + rng.normal(0, 0.02, 150)), 1.0 / (0.02 * rho) ** 2
        )
        turn_error = rng.normal(0.0, 0.0005, 3)
        rotation = so3.exp(-turn_error) @ T.rotation
        translation, covariance = translation_from_depths(rays, rotation, rotation_covariance, known, 0.3)
        error = np.concatenate([T.translation - translation, turn_error])
        errors.append(error)
        squares.append(error @ np.linalg.solve(covariance, error) / 6.0)
    scatter = np.std(errors, axis=0)[:3]
    assert np.all(np.abs(np.mean(errors, axis=0)[:3]) < 4.0 * scatter / np.sqrt(150))
    assert 0.8 < np.mean(squares) < 1.3

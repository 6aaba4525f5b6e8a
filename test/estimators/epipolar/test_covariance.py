"""Whether the covariances of epipolar poses are true, on matches with known noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2
from two_view_scenes import CAMERA, Scene, direction_angle, make_scene, random_pose, rotation_error, unit

from iup_pose_ros.estimators.epipolar.covariance import IntrinsicsUncertainty, noise_scale
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, tangent_basis
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Matches, RelativePose

INDEPENDENT = EpipolarConfig(independent_noise=10.0)
EXACT_CAMERA = replace(INDEPENDENT, intrinsics_uncertainty=IntrinsicsUncertainty(0.0, 0.0, 0.0))


def estimate(scene: Scene, config: EpipolarConfig = EXACT_CAMERA) -> RelativePose:
    estimator = EpipolarEstimator(LucasKanadeFrontEnd(), config)
    return estimator.estimate(scene.previous, scene.current, scene.matches)


def pose_error(found: RelativePose, scene: Scene) -> Array:
    """Rotation (3) and direction (2, in the tangent plane of the estimate) error."""
    basis = tangent_basis(found.T_prev_curr.translation)
    across = basis.T @ scene.T_prev_curr.translation
    across *= direction_angle(found, scene) / max(float(np.linalg.norm(across)), 1e-12)
    return np.concatenate([rotation_error(found, scene), across])


def tangent_covariance(found: RelativePose) -> Array:
    """Covariance (5, 5) of ``pose_error``."""
    reduce = np.zeros((5, 6))
    reduce[:3, 3:] = np.eye(3)
    reduce[3:, :3] = tangent_basis(found.T_prev_curr.translation).T
    return reduce @ found.covariance @ reduce.T


def nees(scenes: list[Scene], config: EpipolarConfig = EXACT_CAMERA) -> Array:
    """(N,) normalised squared errors with 5 degrees of freedom."""
    values = []
    for scene in scenes:
        found = estimate(scene, config)
        error = pose_error(found, scene)
        values.append(error @ np.linalg.solve(tangent_covariance(found), error))
    return np.array(values)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "outliers"), [(0.4, 0), (0.3, 80)])
def test_errors_are_as_large_as_the_covariance_says(noise: float, outliers: int):
    rng = np.random.default_rng(7)
    scenes = [make_scene(rng, random_pose(rng), noise=noise, outliers=outliers) for _ in range(200)]
    values = nees(scenes)
    low, high = chi2.ppf([0.0005, 0.9995], 5 * len(values)) / len(values)
    # Chance inliers may be fewer than the covariance allows for: it may be too wide by a third.
    assert low * (1.0 if outliers == 0 else 0.66) < values.mean() < high
    assert 0.6 < np.mean(values < chi2.ppf(0.683, 5)) < 0.85
    assert np.mean(values < chi2.ppf(0.954, 5)) > 0.9


def test_repeated_estimates_of_one_scene_scatter_as_predicted_with_their_correlations():
    rng = np.random.default_rng(2)
    truth = Pose(so3.exp(np.radians([1.0, 3.0, -2.0])), unit(np.array([1.0, 0.1, 0.3])))
    exact = make_scene(rng, truth, noise=0.0)
    errors, predicted = [], []
    for _ in range(150):
        points = [
            points + 0.4 * rng.normal(size=points.shape)
            for points in (exact.matches.points_prev, exact.matches.points_curr)
        ]
        found = estimate(Scene(exact.previous, exact.current, Matches(points[0], points[1]), truth))
        errors.append(pose_error(found, exact))
        predicted.append(tangent_covariance(found))
    scatter, mean_predicted = np.cov(np.array(errors).T), np.mean(predicted, axis=0)
    ratios = np.linalg.eigvals(np.linalg.solve(mean_predicted, scatter)).real
    assert ratios.min() > 0.6
    assert ratios.max() < 1.6
    # A sideways step looks much like a turn: the two errors are strongly correlated.
    sigmas = np.sqrt(np.diag(scatter))
    correlations = scatter / np.outer(sigmas, sigmas)
    strongest = np.unravel_index(np.argmax(np.abs(correlations[:3, 3:])), (3, 2))
    row, column = int(strongest[0]), int(strongest[1]) + 3
    assert abs(correlations[row, column]) > 0.5
    expected = mean_predicted[row, column] / np.sqrt(
        mean_predicted[row, row] * mean_predicted[column, column]
    )
    assert correlations[row, column] == pytest.approx(expected, abs=0.15)


def test_neighbours_that_err_alike_count_for_little_more_than_one():
    rng = np.random.default_rng(4)
    apart, together = [], []
    for _ in range(15):
        scene = make_scene(rng, random_pose(rng), count=150)
        # Three more tracks beside each, with the error of the first.
        shifts = [np.zeros((150, 2))] + [rng.uniform(-3.0, 3.0, (150, 2)) for _ in range(3)]
        previous = np.vstack([scene.matches.points_prev + shift for shift in shifts])
        current = np.vstack([scene.matches.points_curr + shift for shift in shifts])
        crowded = Scene(scene.previous, scene.current, Matches(previous, current), scene.T_prev_curr)
        apart.append(estimate(scene).sigma_t)
        together.append(estimate(crowded).sigma_t)
    # Independent tracks would halve it.
    assert np.median(together) > 0.7 * np.median(apart)


def smooth_field(rng: np.random.Generator, points: Array, deviation: float) -> Array:
    """(N, 2) errors of one deviation that vary smoothly over the image, as a lens left uncalibrated makes."""
    waves = rng.normal(size=(2, 40, 2)) / (0.2 * 640.0)
    phases = rng.uniform(0.0, 2.0 * np.pi, (2, 40))
    cosines = np.cos(np.einsum("nd,cwd->cwn", points, waves) + phases[..., None])
    return deviation * np.sqrt(2.0 / 40.0) * cosines.sum(axis=1).T


def test_smooth_errors_are_allowed_for_where_no_neighbours_show_them():
    rng = np.random.default_rng(11)
    scenes = []
    for _ in range(30):
        scene = make_scene(rng, random_pose(rng), count=60, noise=0.1)
        current = scene.matches.points_curr + smooth_field(rng, scene.matches.points_curr, 0.5)
        bent = Matches(scene.matches.points_prev, current)
        scenes.append(Scene(scene.previous, scene.current, bent, scene.T_prev_curr))
    inside = chi2.ppf(0.954, 5)
    assert np.mean(nees(scenes, INDEPENDENT) < inside) < 0.8
    assert np.mean(nees(scenes, EpipolarConfig()) < inside) > 0.9


@pytest.mark.parametrize("kind", ["focal", "principal_point"])
def test_an_error_of_the_calibration_moves_the_pose_as_predicted(kind: str):
    rng = np.random.default_rng(6)
    size = 0.004
    uncertainty = IntrinsicsUncertainty(
        **{"focal": 0.0, "principal_point": 0.0, "distortion": 0.0, kind: size}
    )
    config = replace(INDEPENDENT, intrinsics_uncertainty=uncertainty)
    values = []
    for _ in range(40):
        scene = make_scene(rng, random_pose(rng, 20.0), count=400, noise=0.05)
        focal = 500.0 * (1.0 + (size * rng.normal() if kind == "focal" else 0.0))
        offset = 640.0 * size * rng.normal(size=2) if kind == "principal_point" else np.zeros(2)
        wrong = Intrinsics(focal, focal, CAMERA.cx + offset[0], CAMERA.cy + offset[1], 640, 480)
        frames = [type(f)(f.image, wrong, f.stamp, f.frame_id) for f in (scene.previous, scene.current)]
        values.append(nees([Scene(frames[0], frames[1], scene.matches, scene.T_prev_curr)], config)[0])
    ignorant = nees([make_scene(rng, random_pose(rng, 20.0), count=400, noise=0.05)])
    assert 1.5 < np.median(values) < 8.0
    assert ignorant[0] < 30.0


def test_errors_of_two_calibrations_weigh_more_than_those_of_one():
    rng = np.random.default_rng(8)
    truth = random_pose(rng, 3.0)
    scene = make_scene(rng, truth, noise=0.1, count=300)
    two = make_scene(np.random.default_rng(8), truth, noise=0.1, count=300, same_camera=False)
    one_camera, two_cameras = (estimate(found, INDEPENDENT) for found in (scene, two))
    assert estimate(scene).sigma_t < one_camera.sigma_t
    assert np.all(one_camera.sigma_R < two_cameras.sigma_R)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.7])
def test_the_noise_is_found_although_large_residuals_are_missing(sigma: float):
    residuals = sigma * np.random.default_rng(0).normal(size=20_000)
    assert noise_scale(residuals[np.abs(residuals) < 1.0], 1.0) == pytest.approx(sigma, rel=0.1)


def test_the_noise_is_at_most_the_limit():
    assert noise_scale(np.linspace(-1.0, 1.0, 101), 1.0) == pytest.approx(1.0)


def test_derivatives_are_those_of_finite_differences():
    rng = np.random.default_rng(9)
    scene = make_scene(rng, random_pose(rng), count=20, noise=0.0)
    cameras = CameraPair(CAMERA, CAMERA, one_camera=True)
    pose = scene.T_prev_curr
    errors = EpipolarErrors(pose, scene.matches, cameras)
    step = 1e-6
    columns = []
    for k in range(5):
        if k < 3:
            moved = Pose(so3.exp(step * np.eye(3)[k]) @ pose.rotation, pose.translation)
        else:
            moved = Pose(pose.rotation, unit(pose.translation + step * errors.basis[:, k - 3]))
        columns.append((EpipolarErrors(moved, scene.matches, cameras).residuals - errors.residuals) / step)
    np.testing.assert_allclose(np.stack(columns, axis=1), errors.jacobian, rtol=1e-3, atol=1e-2)
    wrong = [
        Intrinsics(500.0 * (1.0 + step), 500.0 * (1.0 + step), 319.5, 239.5, 640, 480),
        Intrinsics(500.0, 500.0, 319.5 + 640.0 * step, 239.5, 640, 480),
        Intrinsics(500.0, 500.0, 319.5, 239.5 + 640.0 * step, 640, 480),
    ]
    by_intrinsics = errors.intrinsics_jacobian()
    for k, camera in enumerate(wrong):
        moved_errors = EpipolarErrors(pose, scene.matches, CameraPair(camera, camera, one_camera=True))
        difference = (moved_errors.residuals - errors.residuals) / step
        np.testing.assert_allclose(difference, by_intrinsics[:, k], rtol=1e-3, atol=1e-2)


def test_only_points_before_both_cameras_are_in_front():
    pose = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    center = np.array([[320.0, 240.0]] * 4)
    # The camera moves to the right: near points move to the left, points behind it to the right.
    moves = np.array([[-40.0, 0.0], [-0.5, 0.0], [0.5, 0.0], [40.0, 0.0]])
    errors = EpipolarErrors(pose, Matches(center, center + moves), CameraPair(CAMERA, CAMERA, True))
    assert errors.in_front(0.5).tolist() == [True, True, True, False]


def test_inliers_have_small_residuals_and_intersect_in_front():
    pose = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    center = np.array([[320.0, 240.0]] * 4)
    moves = np.array([[-40.0, 0.0], [-40.0, 1.0], [-40.0, 2.0], [40.0, 0.0]])
    errors = EpipolarErrors(pose, Matches(center, center + moves), CameraPair(CAMERA, CAMERA, True))
    # The Sampson error of a vertical distance d is d / sqrt(2).
    assert errors.inliers(1.0, noise=0.5).tolist() == [True, True, False, False]

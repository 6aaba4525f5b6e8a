"""Every term of the covariance of an epipolar pose: where it dominates, or computed independently."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.spatial.distance import cdist
from scipy.stats import norm
from two_view_scenes import CAMERA, make_scene, random_pose, unit

from iup_pose_ros.estimators.epipolar.covariance import (
    IntrinsicsUncertainty,
    noise_scale,
    pose_covariance,
    shutter_covariance,
)
from iup_pose_ros.estimators.epipolar.planar_ambiguity import ambiguity_covariance, second_pose_probability
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarResult, unit_relative_pose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, tangent_basis
from iup_pose_ros.types import Matches

Array = NDArray[np.float64]

EXACT = IntrinsicsUncertainty(0.0, 0.0, 0.0)
PAIR = CameraPair(CAMERA, CAMERA, one_camera=True)
UNKNOWN_DIRECTION = (np.pi**2 - 4.0) / 4.0  # variance per axis of a direction drawn evenly from the sphere


def exact_errors(count: int = 200, seed: int = 3) -> EpipolarErrors:
    """Errors of matches without noise under the true pose: every residual is zero."""
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, random_pose(rng), count=count, noise=0.0)
    return EpipolarErrors(scene.T_prev_curr, scene.matches, PAIR)


def sideways(parallax: float, residuals: Array | float = 0.0, count: int = 200) -> EpipolarErrors:
    """A step to the right: points move to the left by up to ``parallax`` pixels and off their rows.

    Epipolar lines are image rows, so the Sampson error is the vertical distance over the square root of 2.
    """
    rng = np.random.default_rng(5)
    previous = rng.uniform([0.0, 0.0], [639.0, 479.0], (count, 2))
    current = previous - np.column_stack([parallax * rng.uniform(0.2, 1.0, count), np.zeros(count)])
    current[:, 1] += np.sqrt(2.0) * residuals
    return EpipolarErrors(Pose(np.eye(3), np.array([1.0, 0.0, 0.0])), Matches(previous, current), PAIR)


def covariance(errors: EpipolarErrors, noise: float, independent: float = 1e3, outliers: int = 0) -> Array:
    """Covariance with exact intrinsics; by default all noise is independent from match to match."""
    return pose_covariance(errors, noise, independent, outliers, EXACT)


def least_squares_covariance(errors: EpipolarErrors, noise_covariance: Array) -> Array:
    """Covariance of a least-squares pose whose residuals have this covariance (N, N)."""
    solution = np.linalg.pinv(errors.jacobian)
    return solution @ noise_covariance @ solution.T


# Least squares and the M-estimate's noise


@pytest.mark.parametrize("count", [20, 200])
def test_with_independent_noise_it_is_that_of_least_squares_with_five_parameters(count: int):
    errors, noise = exact_errors(count), 1e-3
    expected = least_squares_covariance(errors, noise**2 * count / (count - 5) * np.eye(count))
    np.testing.assert_allclose(covariance(errors, noise), expected, rtol=0.01, atol=1e-4 * expected.max())


def test_normal_residuals_cost_the_m_estimate_five_percent_of_efficiency():
    noise, count = 0.01, 1000
    order = np.random.default_rng(0).permutation(count)
    errors = sideways(60.0, noise * norm.ppf((order + 0.5) / count), count)
    still = sideways(60.0, 0.0, count)
    ratio = covariance(errors, noise)[0, 0] / covariance(still, noise)[0, 0]
    assert ratio == pytest.approx(1.0 / 0.95, rel=0.01)


def test_residuals_larger_than_the_noise_given_for_them_widen_it():
    """Half of the residuals at once, half at three times Cauchy's width: weights 1/2 and 1/10."""
    width, count = 2.385 * 0.01, 400
    signs = np.where(np.arange(count) % 2, 1.0, -1.0)
    sizes = np.where(np.arange(count) % 4 < 2, width, 3.0 * width)
    wide = covariance(sideways(60.0, signs * sizes, count), 0.01)
    exact = covariance(sideways(60.0, 0.0, count), 0.01)
    # Influence psi = w r: (width / 2)^2 and (3 width / 10)^2; mean slope (0 - 8 / 100) / 2, at least 0.1.
    expected = 0.5 * ((0.5 * width) ** 2 + (0.3 * width) ** 2) / 0.1**2
    assert wide[0, 0] / exact[0, 0] == pytest.approx(expected / 0.01**2, rel=0.02)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.6])
def test_noise_scale_inverts_the_median_of_truncated_normal_residuals(sigma: float):
    quantiles = norm.cdf(-1.0 / sigma) + (norm.cdf(1.0 / sigma) - norm.cdf(-1.0 / sigma)) * (
        (np.arange(4001) + 0.5) / 4001
    )
    assert noise_scale(sigma * norm.ppf(quantiles), 1.0) == pytest.approx(sigma, rel=0.01)


# Errors in common


@pytest.mark.parametrize("independent", [1.0, 0.6, 0.0])
def test_what_is_not_independent_counts_as_a_smooth_error_mostly_taken_up_by_the_pose(independent: float):
    """Sandwich of a residual covariance (1 - c) I + 3 c K, K Gaussian with 0.2 of the longer image side."""
    errors, noise, count = exact_errors(120), 1e-3, 120
    common = min(1.0 - independent**2, 0.98)
    points = errors.matches.points_prev / 640.0
    alike = np.exp(-0.5 * cdist(points, points, "sqeuclidean") / 0.2**2)
    residual_covariance = (1.0 - common) * np.eye(count) + 3.0 * common * alike
    expected = least_squares_covariance(errors, noise**2 * count / (count - 5) * residual_covariance)
    found = covariance(errors, noise, independent * noise)
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("alike", [True, False])
def test_residuals_that_neighbours_share_are_seen_whatever_the_tracker(alike: bool):
    """Pairs of matches side by side, 64 pixels from the next, whose residuals are equal or random."""
    rng = np.random.default_rng(1)
    count, noise = 100, 0.01
    cells = np.repeat(np.stack(np.meshgrid(np.arange(10), np.arange(5)), -1).reshape(-1, 2), 2, axis=0)
    previous = cells * [64.0, 96.0] + [30.0, 40.0]
    signs = np.repeat(rng.choice([-1.0, 1.0], count // 2), 2) if alike else rng.choice([-1.0, 1.0], count)
    exact = previous - np.column_stack([rng.uniform(20.0, 60.0, count), np.zeros(count)])
    current = exact + np.column_stack([np.zeros(count), np.sqrt(2.0) * noise * signs])
    right = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    distances = cdist(previous, previous, "sqeuclidean") / 640.0**2
    # Correlation by a kernel of 0.03 image sides, less two deviations of what chance makes.
    near = np.exp(-0.5 * distances / 0.03**2) - np.eye(count)
    chance = 2.0 * np.sqrt(2.0 * np.sum(near**2)) / near.sum()
    seen = max(0.0, signs @ near @ signs / near.sum() - chance)
    assert seen > 0.6 if alike else seen == 0.0
    # Influence and slope of Cauchy's M-estimate for residuals of one size.
    square = 1.0 / 2.385**2
    variance = noise**2 * (1.0 + square) ** 2 / (1.0 - square) ** 2 * count / (count - 5)
    smooth = np.exp(-0.5 * distances / 0.2**2)
    expected = least_squares_covariance(
        EpipolarErrors(right, Matches(previous, exact), PAIR),
        variance * ((1.0 - seen) * np.eye(count) + 3.0 * seen * smooth),
    )
    found = covariance(EpipolarErrors(right, Matches(previous, current), PAIR), noise)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-3 * np.abs(expected).max())


# Direction: what noise alone seems to support is no information


def critical_parallax(noise: float, effective_count: float) -> float:
    """Parallax from which the direction's information exceeds that of noise by three deviations.

    In units of the noise, matches without noise show 1 + s, where s = 3 sqrt((4 + 4 s) / n) is chance.
    """
    ratio = 36.0 / effective_count
    critical = 1.0 + 0.5 * (ratio + np.sqrt(ratio**2 + 4.0 * ratio))

    def information(parallax: float) -> float:
        errors = sideways(parallax)
        rotation, direction = errors.jacobian[:, :3], errors.jacobian[:, 3:]
        gram = direction.T @ direction
        gram -= direction.T @ rotation @ np.linalg.solve(rotation.T @ rotation, rotation.T @ direction)
        by_noise = noise**2 * 200 / 195 * errors.direction_noise.sum(axis=0)
        return float(eigh(gram, by_noise, eigvals_only=True)[-1])

    low, high = 1e-3, 1e4
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if information(middle) > critical else (middle, high)
    return float(np.sqrt(low * high))


@pytest.mark.parametrize("common", [0.0, 0.5, 0.9])
def test_a_direction_is_known_from_the_parallax_on_that_noise_cannot_make(common: float):
    noise, count = 0.5, 200
    points = sideways(1.0).matches.points_prev / 640.0
    alike = np.exp(-0.5 * cdist(points, points, "sqeuclidean") / 0.2**2)
    # Squares of correlated noise correlate by the square of its correlation.
    effective_count = count / (1.0 + common**2 * (np.sum(alike**2) / count - 1.0))
    critical = critical_parallax(noise, effective_count)
    below, above = (
        np.linalg.eigvalsh(
            covariance(sideways(share * critical), noise, noise * np.sqrt(1.0 - common))[3:, 3:]
        )
        for share in (0.995, 1.005)
    )
    np.testing.assert_allclose(below, UNKNOWN_DIRECTION, rtol=2e-5)
    assert above[0] < 0.9999 * UNKNOWN_DIRECTION


def test_noise_of_the_direction_columns_is_that_of_all_four_pixel_coordinates():
    """Finite differences, where the camera only turned: there the gradient's length does not change."""
    rng = np.random.default_rng(4)
    pose = random_pose(rng)
    previous = rng.uniform([200.0, 150.0], [440.0, 330.0], (12, 2))
    current = CAMERA.project(CAMERA.rays(previous) @ pose.rotation)
    errors, step = EpipolarErrors(pose, Matches(previous, current), PAIR), 1e-5
    total = np.zeros((12, 2, 2))
    for column in range(4):
        moved = np.hstack([previous, current])
        moved[:, column] += step
        shifted = EpipolarErrors(pose, Matches(moved[:, :2], moved[:, 2:]), PAIR)
        change = (shifted.jacobian - errors.jacobian)[:, 3:] / step
        total += change[:, :, None] * change[:, None, :]
    np.testing.assert_allclose(errors.direction_noise, total, rtol=1e-3, atol=1e-3 * total.max())


def test_a_residual_moves_by_one_pixel_where_all_four_coordinates_together_do():
    errors, step = exact_errors(30), 1e-4
    square = np.zeros(30)
    for column in range(4):
        moved = np.hstack([errors.matches.points_prev, errors.matches.points_curr])
        moved[:, column] += step
        shifted = EpipolarErrors(errors.T_prev_curr, Matches(moved[:, :2], moved[:, 2:]), PAIR)
        square += ((shifted.residuals - errors.residuals) / step) ** 2
    np.testing.assert_allclose(square, 1.0, rtol=1e-3)


# What is known without any match


@pytest.mark.parametrize(("independent", "expected"), [(1e3, 0.5), (0.0, 1.0 / (1.0 + 1.0 / 2.96))])
def test_a_turn_that_no_match_shows_is_as_uncertain_as_the_prior_says(independent: float, expected: float):
    """Matches at the image centre show no turn about the viewing axis.

    The prior, pi per axis, counts as a measurement that keeps the system regular, 1 - c + 3 c times wider
    where a share c of the noise is common (here 0.98), and as what is known before all measurements.
    """
    rng = np.random.default_rng(2)
    points = np.array([CAMERA.cx, CAMERA.cy]) + 1e-6 * rng.normal(size=(50, 2))
    errors = EpipolarErrors(Pose(np.eye(3), np.array([1.0, 0.0, 0.0])), Matches(points, points), PAIR)
    variance = covariance(errors, 0.5, independent)[2, 2]
    assert variance == pytest.approx(expected * np.pi**2, rel=0.02)


def test_a_direction_that_no_match_shows_is_evenly_spread_over_the_sphere():
    rng = np.random.default_rng(0)
    axis = rng.normal(size=(200_000, 3))
    angles = np.arccos(axis[:, 2] / np.linalg.norm(axis, axis=1))
    found = covariance(sideways(0.0), 0.5)[3:, 3:]
    np.testing.assert_allclose(np.diag(found), 0.5 * np.mean(angles**2), rtol=0.01)
    np.testing.assert_allclose(np.diag(found), UNKNOWN_DIRECTION, rtol=1e-6)


# Outliers that are inliers by chance


def with_near_points(near: int) -> EpipolarErrors:
    """A step to the right before a far scene and a few near points, which decide the direction."""
    far = sideways(0.0, count=100)
    points = np.random.default_rng(8).uniform([50.0, 50.0], [590.0, 430.0], (near, 2))
    previous = np.vstack([far.matches.points_prev, points])
    current = np.vstack([far.matches.points_curr, points - [80.0, 0.0]])
    return EpipolarErrors(far.T_prev_curr, Matches(previous, current), PAIR)


@pytest.mark.parametrize(("outliers", "chance"), [(1, 1), (2, 2), (40, 6), (80, 7)])
def test_as_many_influential_matches_are_left_out_as_outliers_may_be(outliers: int, chance: int):
    """Two that any direction meets, and more by Poisson's law: expected is 1/160 of the outliers each.

    Half a pixel of noise makes a band of 6 * 0.5 rows of 480; 0.05 is shared among the pairs of outliers.
    """
    noise = 0.5
    far = covariance(with_near_points(0), noise)
    ignored = covariance(with_near_points(chance), noise, outliers=outliers)
    np.testing.assert_allclose(ignored[3:, 3:], far[3:, 3:], rtol=1e-6)
    counted = covariance(with_near_points(chance + 3), noise, outliers=outliers)
    assert np.linalg.eigvalsh(counted[3:, 3:])[0] < 0.5 * far[3, 3]
    one_more = covariance(with_near_points(chance + 1), noise, outliers=outliers)
    assert np.linalg.eigvalsh(one_more[3:, 3:])[0] < 0.99 * far[3, 3]


def test_at_most_a_quarter_of_the_matches_is_left_out():
    errors, noise = exact_errors(40), 1e-3
    rotation, direction = errors.jacobian[:, :3], errors.jacobian[:, 3:]
    free = direction - rotation @ np.linalg.pinv(rotation) @ direction
    influence = np.einsum("ni,ij,nj->n", free, np.linalg.inv(errors.direction_noise.sum(axis=0)), free)
    rows = np.sort(np.argsort(influence)[:30])
    kept = EpipolarErrors(errors.T_prev_curr, errors.matches.chosen(rows), PAIR)
    np.testing.assert_allclose(covariance(errors, noise, outliers=10**6), covariance(kept, noise), rtol=1e-6)


# The second pose of a plane, and the parts together


def test_a_second_pose_adds_its_distance_by_its_probability():
    first = exact_errors(50)
    direction = so3.exp(0.4 * first.basis[:, 0]) @ first.T_prev_curr.translation
    turn = np.array([0.1, -0.2, 0.05])
    second = Pose(so3.exp(turn) @ first.T_prev_curr.rotation, direction)
    step = np.concatenate(
        [turn, 0.4 * first.basis.T @ np.cross(first.basis[:, 0], first.T_prev_curr.translation)]
    )
    for probability in (0.1, 0.5):
        expected = probability * np.outer(step, step)
        np.testing.assert_allclose(ambiguity_covariance(first, second, probability), expected, atol=1e-12)


def test_a_pose_is_as_probable_as_the_difference_of_the_costs_has_deviations():
    """Squared residuals in units of the noise, at most 3^2 each (as outliers have)."""
    noise = 0.01
    sizes = np.tile([0.6, 0.35, 0.6, 10.0], 5)
    others = np.tile([0.5, 0.5, 0.5, 9.0], 5)
    first, second = sideways(60.0, noise * sizes, 20), sideways(60.0, noise * others, 20)
    difference = np.minimum(sizes, 3.0) ** 2 - np.minimum(others, 3.0) ** 2
    deviations = difference.sum() / np.sqrt(np.sum((difference - difference.mean()) ** 2))
    expected = norm.cdf(deviations)
    assert 0.75 < expected < 0.98
    assert second_pose_probability(first, second, noise) == pytest.approx(expected, rel=1e-3)
    assert second_pose_probability(second, first, noise) == pytest.approx(1.0 - expected, rel=1e-2)


def result(errors: EpipolarErrors, second: EpipolarErrors | None, matches: int = 200) -> EpipolarResult:
    config = EpipolarConfig(intrinsics_uncertainty=EXACT, independent_noise=1.0)
    return EpipolarResult(errors, 0.5, matches, second, 0.3, "test", config)


def expanded(errors: EpipolarErrors, values: Array) -> Array:
    """Covariance (6, 6) of rotation and direction (5, 5), with the nominal variance of the length."""
    expand = np.zeros((6, 5))
    expand[3:, :3], expand[:3, 3:] = np.eye(3), errors.basis
    full = expand @ values @ expand.T
    full[:3, :3] += 1e-6 * np.outer(errors.T_prev_curr.translation, errors.T_prev_curr.translation)
    return full


@pytest.mark.parametrize("outliers", [0, 60])
def test_a_result_has_the_covariance_of_its_matches_its_outliers_and_its_second_pose(outliers: int):
    errors = exact_errors()
    direction = so3.exp(0.4 * errors.basis[:, 0]) @ errors.T_prev_curr.translation
    other = Pose(so3.exp(np.array([0.1, -0.2, 0.05])) @ errors.T_prev_curr.rotation, direction)
    second = EpipolarErrors(other, errors.matches, PAIR)
    alone, both = (result(errors, pose, 200 + outliers).pose for pose in (None, second))
    single = covariance(errors, 0.5, 1.0, outliers)
    np.testing.assert_allclose(alone.covariance, expanded(errors, single), rtol=1e-9, atol=1e-15)
    mixed = single + ambiguity_covariance(errors, other, 0.3)
    np.testing.assert_allclose(both.covariance, expanded(errors, mixed), rtol=1e-9, atol=1e-15)
    expected = [expanded(errors, single), expanded(second, covariance(second, 0.5, 1.0, outliers))]
    found = [hypothesis.covariance for hypothesis in both.hypotheses]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_a_pose_of_any_shutter_has_the_covariance_of_the_shutter_for_each_solution():
    errors = sideways(60.0, np.random.default_rng(1).normal(0.0, 0.5, 200))
    second = EpipolarErrors(Pose(np.eye(3), unit(np.array([1.0, 0.3, 0.1]))), errors.matches, PAIR)
    found = result(errors, second)
    of_any, of_none = found.pose_of_any_shutter, found.pose
    pairs = [
        (of_any, of_none, errors),
        *zip(of_any.hypotheses, of_none.hypotheses, (errors, second), strict=True),
    ]
    for with_shutter, without, seen in pairs:
        expected = (
            without.covariance
            + expanded(seen, shutter_covariance(seen, 0.5))
            - expanded(seen, np.zeros((5, 5)))
        )
        np.testing.assert_allclose(with_shutter.covariance, expected, rtol=1e-9, atol=1e-15)


def test_deviations_of_a_unit_pose_are_those_of_its_covariance():
    direction = unit(np.array([0.3, -0.5, 0.8]))
    basis = tangent_basis(direction)
    values = np.diag([1e-4, 4e-4, 9e-4, 1e-2, 3e-2])
    pose = unit_relative_pose(Pose(np.eye(3), direction), basis, values, "test")
    np.testing.assert_allclose(pose.sigma_R, [0.01, 0.02, 0.03])
    assert pose.sigma_t == pytest.approx(np.sqrt(0.02))
    assert direction @ pose.covariance[:3, :3] @ direction == pytest.approx(1e-6)
    np.testing.assert_allclose(basis.T @ pose.covariance[:3, :3] @ basis, values[3:, 3:], atol=1e-12)

"""The true pose of a step is found by known depths; the covariance covers what is left open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, pose, relative_pose
from scipy.special import expit, logit
from scipy.stats import norm

from iup_pose_ros.estimators.epipolar.planar_ambiguity import second_pose
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import pose_check
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.image_pose import ImagePose
from iup_pose_ros.odometry.pose_check import resolve_ambiguity, resolve_contradiction
from iup_pose_ros.odometry.track_geometry import TrackedRays, observe
from iup_pose_ros.types import Matches, RelativePose

Array = NDArray[np.float64]

COUNT = 120
PLANE = np.array([0.06, 0.1, 0.25])  # plane . point = 1: four steps away, slanted
TRUTH = pose(0.8, 0.0, 0.6, (0.02, -0.05, 0.03))
ROWS = np.ones(COUNT, dtype=np.bool_)


def plane_tracks(noise: float = 0.1) -> tuple[Matches, Array]:
    """Tracks of points of the plane with noise in pixels, and their true inverse depths in steps."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform([20.0, 20.0], [300.0, 220.0], (COUNT, 2))
    rays = INTRINSICS.rays(pixels)
    inverse = rays @ PLANE
    current = INTRINSICS.project(TRUTH.inverse().apply(rays / inverse[:, None]))
    return Matches(pixels, current + noise * rng.normal(size=current.shape)), inverse


def ambiguity(noise: float = 0.1) -> tuple[TrackedRays, Array, RelativePose, RelativePose]:
    """Rays, their inverse depths in steps, the true pose and the other one that the plane allows."""
    matches, inverse = plane_tracks(noise)
    other = second_pose(EpipolarErrors(TRUTH, matches, CameraPair(INTRINSICS, INTRINSICS, True)))
    assert other is not None
    rays = TrackedRays.of(np.arange(COUNT, dtype=np.int64), matches, INTRINSICS)
    return rays, inverse, relative_pose(TRUTH), relative_pose(other, sigma_R=2e-3, sigma_t=3e-2)


def estimate_of(first: RelativePose, second: RelativePose, second_probability: float) -> RelativePose:
    """An estimator's answer whose own covariance is recognisable."""
    return replace(
        first,
        covariance=np.eye(6),
        hypotheses=(first, second),
        second_probability=second_probability,
        attention=np.ones((2, 3), np.float32),
        inlier_probability=0.75,
    )


def known_depths(inverse: Array, sigma: float, length: float = 2.0) -> InverseDepths:
    """Inverse depths in units of the trajectory, of which the step has ``length``, with noise."""
    rng = np.random.default_rng(1)
    found = inverse / length + sigma * rng.normal(size=COUNT)
    return InverseDepths.independent(np.arange(COUNT, dtype=np.int64), found, np.full(COUNT, sigma**-2))


def difference(first: RelativePose, second: RelativePose) -> Array:
    """Step (6,) from one pose to the other, in the order and frame of a covariance."""
    turn = so3.log(second.T_prev_curr.rotation @ first.T_prev_curr.rotation.T)
    return np.concatenate([second.T_prev_curr.translation - first.T_prev_curr.translation, turn])


def assert_covers(found: RelativePose, chosen: RelativePose, other: RelativePose, probability: float) -> None:
    step = difference(chosen, other)
    expected = chosen.covariance + probability * np.outer(step, step)
    np.testing.assert_allclose(found.covariance, expected, rtol=3e-4, atol=1e-12)
    np.testing.assert_allclose(found.sigma_R**2, chosen.sigma_R**2 + probability * step[3:] ** 2, rtol=3e-4)
    # Per axis of the two tangent directions.
    per_axis = chosen.sigma_t**2 + 0.5 * probability * float(step[:3] @ step[:3])
    assert found.sigma_t**2 == pytest.approx(per_axis, rel=3e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_the_true_pose_is_found_in_either_order(order: int) -> None:
    rays, inverse, true, other = ambiguity()
    first, second = (true, other)[::order]
    assert np.degrees(np.arccos(true.T_prev_curr.translation @ other.T_prev_curr.translation)) > 20.0
    found = resolve_ambiguity(estimate_of(first, second, 0.4), rays, known_depths(inverse, 0.005))
    np.testing.assert_array_equal(found.T_prev_curr.matrix, true.T_prev_curr.matrix)
    assert found.sigma_t < 1.1 * true.sigma_t
    assert found.hypotheses == ()
    assert found.inlier_probability == 0.75
    assert found.attention is not None


@pytest.mark.parametrize(("given", "believed"), [(0.4, 0.4748), (0.05, 0.3405), (1e-6, 0.11735), (0.0, 1e-4)])
@pytest.mark.parametrize("known", [COUNT, 11])
def test_of_two_images_sixteen_tracks_count_as_one(known: int, given: float, believed: float) -> None:
    """Without depths that tell more, z standard deviations count as z / 4, and the minimum is 1e-4."""
    rays, inverse, true, other = ambiguity()
    information = np.where(np.arange(COUNT) < known, 1e-20 if known == COUNT else 4e4, 0.0)
    depths = replace(known_depths(inverse, 0.005), information=information)
    assert_covers(
        resolve_ambiguity(estimate_of(other, true, given), rays, depths),
        other,
        true,
        believed,
    )


def test_depths_overrule_images_that_are_sure() -> None:
    rays, inverse, true, other = ambiguity()
    found = resolve_ambiguity(estimate_of(other, true, 1e-5), rays, known_depths(inverse, 0.02))
    np.testing.assert_array_equal(found.T_prev_curr.matrix, true.T_prev_curr.matrix)


@pytest.mark.parametrize(("mean", "is_swapped"), [(0.05, False), (1.2, True), (-0.5, False)])
def test_depths_count_by_the_scatter_of_the_tracks_costs(
    monkeypatch: pytest.MonkeyPatch, mean: float, is_swapped: bool
) -> None:
    """120 tracks whose costs differ by mean +- 1 are worth mean sqrt(120) / 4 standard deviations."""
    rays, inverse, true, other = ambiguity()
    costs = {id(true): 2.0 + mean + np.where(np.arange(COUNT) % 2, 1.0, -1.0), id(other): np.full(COUNT, 2.0)}
    monkeypatch.setattr(pose_check, "_depth_costs", lambda relative, *_: costs[id(relative)])
    found = resolve_ambiguity(estimate_of(true, other, 0.2), rays, known_depths(inverse, 0.01))
    second = expit(logit(norm.cdf(norm.ppf(0.2) / 4.0)) + logit(norm.cdf(mean * np.sqrt(COUNT) / 4.0)))
    assert bool(second > 0.5) == is_swapped
    if is_swapped:
        assert_covers(found, other, true, 1.0 - second)
    else:
        assert_covers(found, true, other, second)


@pytest.mark.parametrize("sigma", [0.02, 1e-6])
def test_costs_are_squared_errors_of_the_depths_over_both_variances(sigma: float) -> None:
    """The known depths are those of a step of length 2; three of them are wrong by so many deviations."""
    rays, inverse, true, _ = ambiguity(noise=0.0)
    variance = observe(rays, true.T_prev_curr).variance
    errors = np.zeros(COUNT)
    errors[:3] = 1.5, -2.0, 20.0
    known = known_depths(inverse, sigma)
    moved = replace(known, inverse=inverse / 2.0 + errors * np.sqrt(variance + (2.0 * sigma) ** 2) / 2.0)
    costs = pose_check._depth_costs(true, rays, moved, ROWS)
    assert costs[:3] == pytest.approx([1.5**2, 2.0**2, 9.0], rel=0.1)
    assert costs[3:].max() < 0.1


def test_only_tracks_with_known_depths_count() -> None:
    rays, inverse, true, other = ambiguity()
    known = known_depths(inverse, 0.005)
    wrong = np.arange(COUNT) % 2 == 0
    partly = InverseDepths.independent(
        known.ids, np.where(wrong, 5.0, known.inverse), np.where(wrong, 0.0, known.information)
    )
    found = resolve_ambiguity(estimate_of(other, true, 0.4), rays, partly)
    np.testing.assert_array_equal(found.T_prev_curr.matrix, true.T_prev_curr.matrix)


def test_a_pose_without_alternative_is_left_as_it_is() -> None:
    rays, inverse, true, _ = ambiguity()
    assert resolve_ambiguity(true, rays, known_depths(inverse, 0.005)) is true


STEP = pose(0.08, 0.0, 0.06, (0.02, -0.05, 0.03))  # of length 0.1


def resected(sigma_t: float, known: int = 80, sigma_R: float = 0.001) -> ImagePose:
    """The true pose by resection; the deviations are those after its covariance is widened threefold."""
    covariance = np.diag(np.repeat([(0.1 * sigma_t) ** 2, sigma_R**2], 3)) / 3.0
    motion = PoseWithCovariance(STEP, covariance)
    ids = np.arange(known, dtype=np.int64)
    return ImagePose(
        0.1, 3, 0.0, motion, covariance, np.zeros((6, 7)), 1e-3, ids, np.zeros((known, 2)), known
    )


def estimated(angle: float, turn: float = 0.0, sigma_t: float = 0.01) -> RelativePose:
    """An estimator's pose whose direction and rotation are wrong by angles in radians."""
    true = relative_pose(STEP, sigma_t=sigma_t)
    about_y = so3.exp(np.array([0.0, 1.0, 0.0]) * angle)
    wrong = Pose(so3.exp(np.array([turn, 0.0, 0.0])) @ STEP.rotation, about_y @ true.T_prev_curr.translation)
    return replace(true, T_prev_curr=wrong, inlier_probability=0.97)


@pytest.mark.parametrize(("angle", "turn"), [(0.6, 0.0), (0.0, 0.12)])
def test_a_contradicted_pose_is_replaced_and_both_are_covered(angle: float, turn: float):
    wrong = estimated(angle, turn)
    chosen = resolve_contradiction(wrong, resected(0.02))
    np.testing.assert_allclose(chosen.T_prev_curr.rotation, STEP.rotation)
    np.testing.assert_allclose(chosen.T_prev_curr.translation, STEP.translation / 0.1)
    assert chosen.inlier_probability == 0.5
    for other in (STEP.rotation, wrong.T_prev_curr.rotation):
        error = so3.log(other @ chosen.T_prev_curr.rotation.T)
        assert error @ np.linalg.solve(chosen.covariance[3:, 3:], error) < 2.0
    error = wrong.T_prev_curr.translation - chosen.T_prev_curr.translation
    assert error @ np.linalg.solve(chosen.covariance[:3, :3], error) < 2.0
    assert chosen.sigma_t > 0.45 * angle


def test_a_replaced_pose_has_the_deviations_of_the_resection_and_half_the_square_of_the_difference():
    """Along the translation, whose length is nominal, the deviation is that of the direction."""
    wrong = estimated(0.6, 0.12)
    chosen = resolve_contradiction(wrong, resected(0.02))
    move = wrong.T_prev_curr.translation - STEP.translation / 0.1
    turn = so3.log(wrong.T_prev_curr.rotation @ STEP.rotation.T)
    difference = np.concatenate([move, turn])
    own = np.diag(np.repeat([0.02**2, 0.001**2], 3))
    np.testing.assert_allclose(chosen.covariance, own + 0.5 * np.outer(difference, difference), atol=1e-12)
    np.testing.assert_allclose(chosen.sigma_R, np.sqrt(0.001**2 + 0.5 * turn**2))
    assert chosen.sigma_t == pytest.approx(np.sqrt(0.02**2 + 0.25 * move @ move))


def test_the_hypotheses_of_a_pose_cover_another_one_as_well():
    pose, other = estimated(0.0), estimated(0.6, 0.12).T_prev_curr
    covering = replace(pose, hypotheses=(pose, pose)).covering(other, 0.3)
    for hypothesis in covering.hypotheses:
        np.testing.assert_array_equal(hypothesis.covariance, pose.covering(other, 0.3).covariance)


def test_differences_within_the_deviations_are_no_contradiction():
    assert resolve_contradiction(wrong := estimated(0.6), resected(0.3)) is wrong
    assert resolve_contradiction(turned := estimated(0.0, 0.12), resected(0.02, sigma_R=0.05)) is turned
    unsure = estimated(0.6, sigma_t=0.3)
    assert resolve_contradiction(unsure, resected(0.02)) is unsure
    small = estimated(0.15)  # 9 degrees, 7 standard deviations
    assert resolve_contradiction(small, resected(0.02)) is small


def test_few_known_depths_or_no_translation_replace_nothing():
    wrong = estimated(0.6)
    assert resolve_contradiction(wrong, resected(0.02, known=29)) is wrong
    still = replace(resected(0.02), motion=PoseWithCovariance.exact(Pose(STEP.rotation, np.zeros(3))))
    assert resolve_contradiction(wrong, still) is wrong

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_view_scenes import random_pose, unit

from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.estimators.pose_fusion import PoseDifference
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import RelativePose

SEEDS = st.integers(0, 2**32 - 1)


def random_covariance(rng: np.random.Generator, sigma: float) -> Array:
    root = sigma * (np.eye(5) + 0.5 * rng.normal(size=(5, 5)))
    return root @ root.T + 0.01 * sigma**2 * np.eye(5)


def displaced(truth: Pose, step: Array, covariance: Array, source: str = "test") -> RelativePose:
    """The estimate from which ``step`` (5,) leads to the truth."""
    basis = tangent_basis(truth.translation)
    turn = so3.exp(-np.cross(truth.translation, basis @ step[3:]))
    pose = Pose(so3.exp(-step[:3]) @ truth.rotation, turn @ truth.translation)
    return unit_relative_pose(pose, turn @ basis, covariance, source)


def draw(rng: np.random.Generator, truth: Pose, sigma: float) -> RelativePose:
    covariance = random_covariance(rng, sigma)
    return displaced(truth, np.linalg.cholesky(covariance) @ rng.normal(size=5), covariance)


def distance(estimate: RelativePose, truth: Pose) -> float:
    """Squared Mahalanobis distance of an estimate from the truth."""
    step = np.concatenate(
        [
            truth.translation - estimate.T_prev_curr.translation,
            so3.log(truth.rotation @ estimate.T_prev_curr.rotation.T),
        ]
    )
    direction = np.append(estimate.T_prev_curr.translation, np.zeros(3))
    step -= direction * (direction @ step)
    return float(step @ np.linalg.solve(estimate.covariance, step))


@pytest.mark.parametrize("alike", [False, True])
def test_fused_poses_are_not_surer_than_right_even_where_errors_are_alike(alike: bool):
    rng = np.random.default_rng(0)
    distances, single, consistent = [], [], []
    for _ in range(600):
        truth = random_pose(rng)
        covariance = random_covariance(rng, 0.01)
        step = np.linalg.cholesky(covariance) @ rng.normal(size=5)
        first = displaced(truth, step, covariance)
        second = displaced(truth, 2.0 * step, 4.0 * covariance) if alike else draw(rng, truth, 0.02)
        difference = PoseDifference.between(first, second)
        consistent.append(difference.consistent)
        distances.append(distance(difference.fused("both"), truth))
        single.append(distance(first, truth))
    assert np.mean(distances) < 5.5  # at most about that of chi-square with 5 degrees of freedom
    assert np.mean(distances) > 0.4 * np.mean(single)
    assert np.mean(consistent) > 0.99


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_fusion_never_loses_information_and_stays_positive_definite(seed: int):
    rng = np.random.default_rng(seed)
    truth = random_pose(rng)
    difference = PoseDifference.between(draw(rng, truth, 0.003), draw(rng, truth, 0.03))
    fused = difference.fused("both")
    assert fused.source == "both"
    assert np.linalg.norm(fused.T_prev_curr.translation) == pytest.approx(1.0)
    assert np.linalg.eigvalsh(fused.covariance).min() > 0.0
    again = PoseDifference.between(fused, fused)
    better = np.linalg.det(difference.covariance_first)
    assert np.linalg.det(again.covariance_first) <= better * (1 + 1e-3)
    assert fused.sigma_R == pytest.approx(np.sqrt(np.diag(fused.covariance)[3:]))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_a_pose_in_doubt_says_how_far_away_the_other_is(seed: int):
    rng = np.random.default_rng(seed)
    truth = random_pose(rng)
    first = draw(rng, truth, 0.003)
    second = displaced(truth, rng.normal(size=5) * 0.3, random_covariance(rng, 0.003))
    difference = PoseDifference.between(first, second)
    doubtful = difference.first_in_doubt("both")
    np.testing.assert_array_equal(doubtful.T_prev_curr.matrix, first.T_prev_curr.matrix)
    found = PoseDifference.between(doubtful, second)
    assert found.step @ np.linalg.solve(found.covariance_first, found.step) <= 2.0 + 1e-6
    least = np.linalg.eigvalsh(found.covariance_first - 0.5 * difference.covariance_first).min()
    assert least > -1e-9


def test_an_estimate_that_knows_nothing_changes_nothing():
    rng = np.random.default_rng(0)
    truth = random_pose(rng)
    first = draw(rng, truth, 0.01)
    vague = displaced(truth, np.array([0.1, 0.1, 0.1, 1.0, 1.0]), 1e4 * np.eye(5))
    fused = PoseDifference.between(first, vague).fused("both")
    assert np.allclose(fused.T_prev_curr.matrix, first.T_prev_curr.matrix, atol=1e-6)
    assert np.allclose(fused.covariance, first.covariance, rtol=1e-4, atol=1e-8)


def test_each_part_comes_from_the_estimate_that_knows_it():
    truth = Pose(np.eye(3), unit(np.array([1.0, 0.5, -0.3])))
    rotation_only = np.diag([1e-3**2] * 3 + [1.0] * 2)
    direction_only = np.diag([1.0] * 3 + [1e-3**2] * 2)
    first = displaced(truth, np.array([0.0, 0.0, 0.0, 0.5, -0.4]), rotation_only)
    second = displaced(truth, np.array([0.3, -0.2, 0.4, 0.0, 0.0]), direction_only)
    fused = PoseDifference.between(first, second).fused("both").T_prev_curr
    assert so3.geodesic_angle(fused.rotation, truth.rotation) < 2e-3
    assert fused.translation @ truth.translation > np.cos(2e-3)


def test_poses_that_differ_by_many_deviations_are_inconsistent():
    truth = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    first = displaced(truth, np.zeros(5), 1e-4 * np.eye(5))
    near = displaced(truth, np.full(5, 0.01), 1e-4 * np.eye(5))
    far = displaced(truth, np.array([0.1, 0.0, 0.0, 0.0, 0.0]), 1e-4 * np.eye(5))
    opposite = displaced(truth, np.array([0.0, 0.0, 0.0, np.pi, 0.0]), 1e-4 * np.eye(5))
    assert PoseDifference.between(first, near).consistent
    assert not PoseDifference.between(first, far).consistent
    assert not PoseDifference.between(first, opposite).consistent
    assert np.isfinite(PoseDifference.between(first, opposite).fused("both").covariance).all()

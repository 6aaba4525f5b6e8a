"""Covariances of the network's poses, of corrected and of fused poses against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2
from two_view_scenes import random_pose

from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.estimators.network.conversion import relative_pose
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.estimators.pose_fusion import PoseDifference
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import RelativePose

Array = NDArray[np.float64]

POSE = random_pose(np.random.default_rng(3), 20.0)
BASIS = tangent_basis(POSE.translation)


def with_covariance(covariance: Array, step: Array | None = None) -> RelativePose:
    """POSE moved by ``step`` (5,) with a covariance (5, 5) along the moved tangent directions."""
    moved = np.zeros(5) if step is None else step
    turn = so3.exp(np.cross(POSE.translation, BASIS @ moved[3:]))
    pose = Pose(so3.exp(moved[:3]) @ POSE.rotation, turn @ POSE.translation)
    return unit_relative_pose(pose, turn @ BASIS, covariance, "test")


def tangent(pose: RelativePose) -> Array:
    """Covariance (5, 5) of the rotation and of the direction along BASIS."""
    reduce = np.zeros((5, 6))
    reduce[:3, 3:], reduce[3:, :3] = np.eye(3), BASIS.T
    return reduce @ pose.covariance @ reduce.T


def positive(seed: int) -> Array:
    root = np.random.default_rng(seed).normal(size=(5, 5))
    return 1e-4 * (root @ root.T + np.eye(5))


def test_a_pose_in_doubt_has_the_second_moment_of_both_about_the_first():
    step = np.array([0.1, -0.2, 0.05, 0.15, 0.3])
    first, second = positive(1), positive(2)
    difference = PoseDifference.between(with_covariance(first), with_covariance(second, step))
    np.testing.assert_allclose(difference.step, step, atol=1e-9)
    found = tangent(difference.with_mixture_covariance("both"))
    np.testing.assert_allclose(found, 0.5 * first + 0.5 * second + 0.5 * np.outer(step, step), atol=1e-9)


@pytest.mark.parametrize(("first", "second"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_poses_are_consistent_up_to_the_quantile_of_both_covariances(first: float, second: float):
    """One in a thousand true pairs is further apart; ``first`` and ``second`` are shares of the variance."""
    limit = 0.02 * np.sqrt(chi2.ppf(0.999, 5))
    poses = [(share + 1e-6) * 0.02**2 * np.eye(5) for share in (first, second)]
    for factor, consistent in ((0.99, True), (1.01, False)):
        step = np.array([0.6, 0.0, 0.0, 0.0, 0.8]) * limit * factor
        difference = PoseDifference.between(with_covariance(poses[0]), with_covariance(poses[1], step))
        assert difference.consistent is consistent


def test_fusion_is_covariance_intersection():
    """One pose is four times surer of the rotation, the other of the direction (variances).

    Share w of the first maximises 3 log(w + (1 - w) / 4) + 2 log(w / 4 + 1 - w), which is 2/3: information
    3/4 for the rotation, of which the second has 1/9, and 1/2 for the direction, of which it has 2/3.
    """
    variance = 1e-6
    first = variance * np.diag([1.0, 1.0, 1.0, 4.0, 4.0])
    second = variance * np.diag([4.0, 4.0, 4.0, 1.0, 1.0])
    step = 1e-3 * np.array([1.0, -2.0, 0.5, 1.5, -1.0])
    fused = PoseDifference.between(with_covariance(first), with_covariance(second, step)).fused("both")
    expected = variance * np.diag([4 / 3, 4 / 3, 4 / 3, 2.0, 2.0])
    np.testing.assert_allclose(tangent(fused), expected, atol=1e-3 * variance)
    moved = PoseDifference.between(with_covariance(first), fused).step
    np.testing.assert_allclose(moved, step * [1 / 9, 1 / 9, 1 / 9, 2 / 3, 2 / 3], rtol=1e-3)


def test_calibration_multiplies_deviations_and_adds_floors_in_quadrature():
    temperatures = SigmaCalibration(rotation=2.0, direction=3.0, rotation_floor=0.05, direction_floor=0.07)
    values = np.diag([1e-4, 4e-4, 9e-4, 1e-2, 1e-2])
    values[0, 3] = values[3, 0] = 2e-4
    pose = with_covariance(values)
    found = apply_sigma_calibration(pose, temperatures)
    expected = values * np.outer([2.0, 2.0, 2.0, 3.0, 3.0], [2.0, 2.0, 2.0, 3.0, 3.0])
    expected += np.diag([0.05**2] * 3 + [0.07**2] * 2)
    np.testing.assert_allclose(tangent(found), expected, atol=1e-12)
    direction = POSE.translation
    # The nominal variance of the length is only multiplied: nothing is known of it.
    assert direction @ found.covariance[:3, :3] @ direction == pytest.approx(9.0 * 1e-6)
    np.testing.assert_allclose(found.sigma_R, np.sqrt(np.diag(expected)[:3]))
    assert found.sigma_t == pytest.approx(np.sqrt(expected[3, 3]))
    unchanged = apply_sigma_calibration(pose, replace(SigmaCalibration()))
    np.testing.assert_array_equal(unchanged.covariance, pose.covariance)


def test_the_networks_pose_has_the_covariance_of_its_deviations():
    """Sampled: the rotation errs about the previous camera's axes, the direction in the current camera's."""
    rng = np.random.default_rng(4)
    sigma_R, sigma_t, count = np.array([0.01, 0.02, 0.03]), 0.02, 40_000
    T_1_0 = POSE
    pose = relative_pose(T_1_0.rotation, T_1_0.translation, sigma_R, sigma_t, "network")
    turns = so3.exp(sigma_R * rng.normal(size=(count, 3)))
    rotations = np.swapaxes(T_1_0.rotation @ turns, 1, 2)  # R_0_1
    offsets = T_1_0.translation + sigma_t * rng.normal(size=(count, 3))
    translations = -np.einsum("nij,nj->ni", rotations, offsets)
    errors = np.hstack(
        [
            translations - pose.T_prev_curr.translation,
            so3.log(rotations @ pose.T_prev_curr.rotation.T),
        ]
    )
    sampled = errors.T @ errors / count
    sigmas = np.sqrt(np.diag(sampled))
    np.testing.assert_allclose(
        pose.covariance / np.outer(sigmas, sigmas), sampled / np.outer(sigmas, sigmas), atol=0.03
    )
    np.testing.assert_allclose(np.diag(pose.covariance)[3:], sigma_R**2, rtol=1e-9)

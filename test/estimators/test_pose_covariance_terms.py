"""Covariances of the network's poses and of corrected poses against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from two_view_scenes import random_pose

from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.estimators.network.conversion import relative_pose
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import tangent_basis
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import RelativePose

Array = NDArray[np.float64]

POSE = random_pose(np.random.default_rng(3), 20.0)
BASIS = tangent_basis(POSE.translation)


def with_covariance(covariance: Array) -> RelativePose:
    """POSE with a covariance (5, 5), of the direction along BASIS."""
    return unit_relative_pose(POSE, BASIS, covariance, "test")


def tangent(pose: RelativePose) -> Array:
    """Covariance (5, 5) of the rotation and of the direction along BASIS."""
    reduce = np.zeros((5, 6))
    reduce[:3, 3:], reduce[3:, :3] = np.eye(3), BASIS.T
    return reduce @ pose.covariance @ reduce.T


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

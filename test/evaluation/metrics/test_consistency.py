"""Consistency measures against simulated errors whose covariance is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import (
    NormalErrors,
    direction_consistency,
    rotation_consistency,
    tangent_error,
)
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array

COUNT = 1500


def random_covariance(rng: np.random.Generator, rotation_sigma: float, translation_sigma: float) -> Array:
    factor = rng.normal(size=(6, 6)) + 2.0 * np.eye(6)
    scale = np.repeat([translation_sigma, rotation_sigma], 3)
    return (factor @ factor.T / 10.0) * np.outer(scale, scale)


@functools.cache
def simulated(overconfidence: float, length: float = 3.0) -> tuple[list[PoseWithCovariance], list[Pose]]:
    """Return estimates whose covariance is too small by ``overconfidence``^2, and the true poses."""
    rng = np.random.default_rng(11)
    estimates, truths = [], []
    for rotation in Rotation.random(COUNT, rng=rng).as_matrix():
        direction = rng.normal(size=3)
        translation = length * direction / np.linalg.norm(direction)
        covariance = random_covariance(rng, 0.01, 0.01 * length)
        error = np.linalg.cholesky(covariance) @ rng.normal(size=6)
        estimates.append(PoseWithCovariance(Pose(rotation, translation), covariance / overconfidence**2))
        truths.append(Pose(so3.exp(error[3:]) @ rotation, translation + error[:3]))
    return estimates, truths


def test_consistent_covariances_give_the_nominal_nees_and_coverage() -> None:
    estimates, truths = simulated(overconfidence=1.0)
    for consistency, dof in (
        (rotation_consistency(estimates, truths), 3),
        (direction_consistency(estimates, truths), 2),
    ):
        assert consistency.dof == dof
        low, high = consistency.expected_interval
        assert low < consistency.mean < high
        assert 0.85 * dof < low < dof < high < 1.15 * dof
        for sigmas, nominal in ((1, 0.6827), (2, 0.9545), (3, 0.9973)):
            # Four standard deviations of a binomial proportion.
            tolerance = 4.0 * np.sqrt(nominal * (1.0 - nominal) / COUNT)
            assert consistency.coverage[sigmas] == pytest.approx(nominal, abs=tolerance)


def test_nees_grows_with_the_square_of_the_overconfidence() -> None:
    consistent = simulated(overconfidence=1.0)
    overconfident = simulated(overconfidence=3.0)
    for measure in (rotation_consistency, direction_consistency):
        assert measure(*overconfident).mean == pytest.approx(9.0 * measure(*consistent).mean)
        assert measure(*overconfident).coverage[2] < 0.5


def test_direction_does_not_depend_on_the_unknown_length_of_the_truth() -> None:
    estimates, truths = simulated(overconfidence=1.0)
    stretched = [Pose(truth.rotation, 7.5 * truth.translation) for truth in truths]
    np.testing.assert_allclose(
        direction_consistency(estimates, stretched).nees,
        direction_consistency(estimates, truths).nees,
        rtol=1e-6,
        atol=1e-12,
    )


@pytest.mark.parametrize("angle", [1e-7, 0.3, 2.0, np.pi])
def test_tangent_error_has_the_length_of_the_angle(angle: float) -> None:
    estimate = np.array([0.0, 0.0, 2.0])
    reference = 5.0 * np.array([np.sin(angle), 0.0, np.cos(angle)])
    error = tangent_error(estimate, reference)
    assert np.linalg.norm(error) == pytest.approx(angle)
    assert abs(error @ estimate) < 1e-12


def test_pairs_without_motion_have_no_direction() -> None:
    covariance = np.eye(6) * 1e-4
    moving = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    estimates = [PoseWithCovariance(pose, covariance) for pose in (moving, Pose.identity(), moving)]
    consistency = direction_consistency(estimates, [moving, moving, Pose.identity()])
    assert len(consistency.nees) == 1
    assert len(rotation_consistency(estimates, [moving] * 3).nees) == 3


def test_no_pairs_give_nan_not_an_error() -> None:
    consistency = rotation_consistency([], [])
    assert np.isnan(consistency.mean)
    assert all(np.isnan(share) for share in consistency.coverage.values())


def test_covariance_that_is_not_positive_definite_is_refused() -> None:
    flat = PoseWithCovariance(Pose(np.eye(3), np.array([1.0, 0.0, 0.0])), np.zeros((6, 6)))
    with pytest.raises(DataError, match="not positive definite"):
        rotation_consistency([flat], [flat.pose])


@pytest.mark.parametrize(("errors", "expected"), [([1.0, 2.0, 4.0], 1.0), ([4.0, 2.0, 1.0], -1.0)])
def test_rank_correlation_is_that_of_sigma_and_error(errors, expected):
    sigmas = np.array([0.1, 0.2, 0.3])
    components = np.column_stack([errors, np.zeros(3)])
    found = NormalErrors(components, np.column_stack([sigmas, sigmas]) ** 2)
    assert found.rank_correlation == pytest.approx(expected)

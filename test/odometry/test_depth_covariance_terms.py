"""Every term of the variances of depths, and of lengths and translations by depths."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, Cloud, deviations, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import InverseDepths, step_length, translation_from_depths
from iup_pose_ros.odometry.track_geometry import TrackedRays, observe, step_depths

Array = NDArray[np.float64]


def test_inverse_depths_have_the_noise_of_the_tracks_and_at_least_a_quarter_of_a_pixel():
    cloud, right = Cloud(200), Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    rays = cloud.rays(pose(), pose(0.5))
    seen = observe(rays, right)
    # A step to the right moves a point by focal * mu along its row.
    np.testing.assert_allclose(step_depths(rays, right).sensitivity, 1.0 / 260.0, rtol=1e-6)
    np.testing.assert_allclose(seen.variance, (0.25 / 640.0 * 320.0 / 260.0) ** 2, rtol=1e-6)
    rays.current[:, 1] += 2.0 / 260.0 * np.where(np.arange(200) % 2, 1.0, -1.0)
    np.testing.assert_allclose(observe(rays, right).variance, (1.4826 * 2.0 / 260.0) ** 2, rtol=1e-6)


@pytest.mark.parametrize(("mu_sigma", "rho_sigma"), [(0.03, 1e-9), (1e-9, 0.03), (0.03, 0.03)])
def test_length_of_exact_depths_has_the_error_that_both_sides_allow(mu_sigma: float, rho_sigma: float):
    rho = np.random.default_rng(0).uniform(0.1, 0.4, 100)
    known = InverseDepths.independent(np.arange(100), rho, np.full(100, rho_sigma**-2))
    found = step_length(2.0 * rho, np.full(100, mu_sigma**2), known)
    total = mu_sigma**2 + 2.0**2 * rho_sigma**2
    assert found.length == pytest.approx(2.0)
    assert found.sigma == pytest.approx(np.sqrt(total / np.sum(rho**2)))
    np.testing.assert_allclose(found.weights, rho / np.sum(rho**2))


def test_errors_larger_than_their_variances_widen_the_length():
    """A third of the errors is zero, the others are two standard deviations up and down."""
    rho, deviation = np.full(99, 0.25), 0.01
    known = InverseDepths.independent(np.arange(99), rho, np.full(99, 1e18))
    found = step_length(rho + 2.0 * deviation * (np.arange(99) % 3 - 1.0), np.full(99, deviation**2), known)
    # Geman and McClure's weights for two deviations where three is the tolerance.
    weight = (1.0 + (2.0 / 3.0) ** 2) ** -2
    mean_weight = (2.0 * weight + 1.0) / 3.0
    spread = (2.0 * weight * 2.0**2) / 3.0 / mean_weight
    expected = np.sqrt(spread / mean_weight) * deviation / np.sqrt(np.sum(rho**2))
    assert found.sigma == pytest.approx(expected, rel=1e-3)


def test_fused_depths_are_never_surer_than_two_percent():
    known = InverseDepths.independent(np.arange(2), np.array([0.5, 0.5]), np.array([1e9, 100.0]))
    fused = known.fused(np.array([0.5, 0.5]), np.array([1e9, 300.0]))
    np.testing.assert_allclose(fused.information, [(0.02 * 0.5) ** -2, 400.0])


def rays_of(points: Array, T_prev_curr: Pose) -> TrackedRays:
    """Exact tracks of points (N, 3) of the previous camera."""
    current = T_prev_curr.inverse().apply(points)
    return TrackedRays(
        np.arange(len(points)), points / points[:, 2:], current / current[:, 2:], INTRINSICS.fx, 320
    )


@pytest.mark.parametrize("kind", ["tracks", "depths"])
def test_translation_from_depths_has_the_error_of_tracks_and_of_depths(kind: str):
    """The information of exact tracks is sum rho^2 P^T P over the variance, P = [[1, 0, -x], [0, 1, -y]]."""
    points, T = Cloud(60).points, pose(0.3, -0.1, 0.2)
    rays, rho = rays_of(points, T), 1.0 / points[:, 2]
    noise, rho_sigma = (0.5, 1e-9) if kind == "tracks" else (1e-6, 0.02)
    known = InverseDepths.independent(rays.ids, rho, np.full(60, rho_sigma**-2))
    _, found = translation_from_depths(rays, T.rotation, np.zeros((3, 3)), known, noise)
    projection = np.zeros((60, 2, 3))
    projection[:, 0, 0] = projection[:, 1, 1] = 1.0
    projection[:, :, 2] = -rays.current[:, :2]
    lever = np.sum((projection @ T.translation) ** 2, axis=1)
    variance = np.full(60, (noise / 260.0) ** 2) if kind == "tracks" else lever * rho_sigma**2
    information = np.einsum("n,nij,nik->jk", rho**2 / variance, projection, projection)
    np.testing.assert_allclose(found[:3, :3], np.linalg.inv(information), rtol=1e-3, atol=1e-12)


def test_translation_from_depths_turns_with_an_error_of_the_rotation():
    points, T = Cloud(60).points, pose(0.001, -0.002, 0.001, (0.05, 0.1, -0.02))
    rays = rays_of(points, T)
    known = InverseDepths.independent(rays.ids, 1.0 / points[:, 2], np.full(60, 1e18))

    def solved(rotation: Array, covariance: Array) -> tuple[Array, Array]:
        return translation_from_depths(rays, rotation, covariance, known, 0.5)

    step = 1e-6
    arm = np.stack(
        [
            (solved(so3.exp(step * axis) @ T.rotation, np.zeros((3, 3)))[0] - T.translation) / step
            for axis in np.eye(3)
        ],
        axis=1,
    )
    turning = 0.01**2 * np.array([[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 0.5]])
    added = solved(T.rotation, turning)[1] - solved(T.rotation, np.zeros((3, 3)))[1]
    joint = np.vstack([arm, np.eye(3)])
    np.testing.assert_allclose(added, joint @ turning @ joint.T, rtol=1e-2, atol=1e-3 * np.abs(added).max())


def test_a_translation_that_the_tracks_do_not_show_is_within_ten_times_the_median_depth():
    points = Cloud(20).points * [1.0, 1.0, 0.0] + [0.0, 0.0, 4.0]
    rays = rays_of(points, pose())
    known = InverseDepths.independent(rays.ids, np.full(20, 0.25), np.full(20, 1e6))
    _, found = translation_from_depths(rays, np.eye(3), np.zeros((3, 3)), known, 1e6)
    np.testing.assert_allclose(deviations(found)[:3], 40.0, rtol=1e-2)

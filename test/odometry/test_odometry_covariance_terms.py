"""Every term of the odometry's covariances, each where it dominates or against sampling."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, Cloud, disturbed, pose, relative_pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.depths import InverseDepths, step_length, translation_from_depths
from iup_pose_ros.odometry.integrator import Integrator, mean_twist, zero_twist
from iup_pose_ros.odometry.scale import FixedScale, RelativeScale, WheelScale
from iup_pose_ros.odometry.scaled_step import (
    Interval,
    Length,
    ScaledStep,
    metric_step,
    rotation_only_step,
    step_along,
    step_from_translation,
)
from iup_pose_ros.odometry.track_geometry import TrackedRays, observe, step_depths
from iup_pose_ros.types import RelativePose

Array = NDArray[np.float64]

NO_TRACKS = np.zeros(0, dtype=np.bool_)
SECOND = Interval(0.0, 1.0)
TINY = 1e-7  # a standard deviation that does not count


def deviations(covariance: Array) -> Array:
    return np.sqrt(np.diag(covariance))


def step_deviation(step: ScaledStep) -> float:
    """Standard deviation of the step's length."""
    direction = step.camera.pose.translation / np.linalg.norm(step.camera.pose.translation)
    return float(np.sqrt(direction @ step.camera.covariance[:3, :3] @ direction))


# A step of known length


def correlated(T_prev_curr: Pose) -> RelativePose:
    """An answer whose errors of direction and rotation are correlated, about 0.02 each."""
    root = np.random.default_rng(1).normal(size=(6, 6))
    return replace(relative_pose(T_prev_curr), covariance=4e-4 / 6.0 * (root @ root.T + np.eye(6)))


def test_covariance_of_a_scaled_step_matches_sampling():
    """The length errs by itself and with the pose; the pose's nominal error along the direction is none."""
    rng = np.random.default_rng(2)
    relative = correlated(pose(0.6, -0.3, 1.5, (0.1, 0.2, -0.1)))
    jacobian = np.array([3.0, -2.0, 1.0, -4.0, 2.0, 3.0])
    direction = relative.T_prev_curr.translation
    step = step_along(relative, Length(2.0, 0.05, "test", jacobian=jacobian), NO_TRACKS)
    errors = rng.multivariate_normal(np.zeros(6), relative.covariance, 40_000)
    errors[:, :3] -= np.outer(errors[:, :3] @ direction, direction)
    lengths = 2.0 + errors @ jacobian + 0.05 * rng.normal(size=len(errors))
    # To first order: the step's change by the change of its length and by that of its direction.
    moves = (lengths - 2.0)[:, None] * direction + 2.0 * errors[:, :3]
    samples = np.hstack([moves, errors[:, 3:]])
    sampled = samples.T @ samples / len(samples)
    scale = np.outer(deviations(sampled), deviations(sampled))
    np.testing.assert_allclose(step.camera.covariance / scale, sampled / scale, atol=0.03)
    np.testing.assert_allclose(step.camera.pose.translation, 2.0 * direction)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_error_of_the_length_lies_along_the_step(sigma: float):
    relative = relative_pose(pose(0.0, 0.6, 0.8))
    without = step_along(relative, Length(2.0, 0.0, "test"), NO_TRACKS).camera.covariance
    added = step_along(relative, Length(2.0, sigma, "test"), NO_TRACKS).camera.covariance - without
    expected = np.zeros((6, 6))
    expected[:3, :3] = sigma**2 * np.outer([0.0, 0.6, 0.8], [0.0, 0.6, 0.8])
    np.testing.assert_allclose(added, expected, atol=1e-12)


def test_a_turn_without_a_step_keeps_the_error_of_its_rotation():
    relative = correlated(pose(1.0))
    found = rotation_only_step(relative, Length(0.0, 0.4, "test"), NO_TRACKS)
    expected = np.zeros((6, 6))
    expected[:3, :3] = 0.16 * np.eye(3)
    expected[3:, 3:] = relative.covariance[3:, 3:]
    np.testing.assert_allclose(found.camera.covariance, expected)
    assert found.sigma_t == pytest.approx(np.pi / 2)


@pytest.mark.parametrize(("length", "expected"), [(0.4, np.arctan2(0.3, 0.4)), (0.29, np.pi / 2)])
def test_direction_of_a_measured_translation_is_as_uncertain_as_its_error_is_wide(length, expected):
    covariance = np.diag([0.27, 0.0, 0.0, 1.0, 1.0, 1.0])  # mean of the first three: 0.3^2
    step = step_from_translation(
        relative_pose(pose(1.0)), np.array([0.0, length, 0.0]), covariance, "test", NO_TRACKS
    )
    assert step.sigma_t == pytest.approx(expected)
    np.testing.assert_array_equal(step.camera.covariance, covariance)


def test_a_metric_estimate_keeps_its_covariance():
    relative = correlated(pose(1.0))
    np.testing.assert_array_equal(metric_step(relative, NO_TRACKS).camera.covariance, relative.covariance)


# Lengths and their sources


def source_step(source, before: Pose, after: Pose, noise: float = 0.2, interval: Interval = SECOND):
    """The step of an almost exact estimator between two poses before the same cloud."""
    relative = relative_pose(before.inverse() @ after, TINY, TINY)
    return source.step(relative, Cloud(noise=noise).rays(before, after), interval)


def test_a_fixed_length_is_a_tenth_uncertain_and_a_turn_may_hide_all_of_it():
    source = FixedScale(OdometryConfig(scale_source="fixed", fixed_step_length=0.25))
    assert step_deviation(source_step(source, pose(), pose(0.5))) == pytest.approx(0.025, rel=1e-3)
    turn = source_step(source, pose(), pose(turn=(0.0, 0.1, 0.0)))
    np.testing.assert_allclose(deviations(turn.camera.covariance)[:3], 0.25)


def test_the_first_relative_length_is_a_hundredth_uncertain():
    step = source_step(RelativeScale(OdometryConfig()), pose(), pose(0.5))
    assert step_deviation(step) == pytest.approx(0.01, rel=1e-3)


def test_a_held_length_is_as_uncertain_as_it_is_long():
    source, cloud = RelativeScale(OdometryConfig()), Cloud(noise=0.2)
    relative = relative_pose(pose(0.5), TINY, TINY)
    source.step(relative, cloud.rays(pose(), pose(0.5), last=150), SECOND)
    held = source.step(relative, cloud.rays(pose(0.5), pose(1.0), 150), Interval(1.0, 1.5))
    assert held.source == "relative (held)"
    assert step_deviation(held) == pytest.approx(np.linalg.norm(held.camera.pose.translation), rel=1e-3)


def test_lengths_measured_after_a_held_one_inherit_its_uncertainty():
    source, cloud = RelativeScale(OdometryConfig()), Cloud(noise=0.2)
    relative = relative_pose(pose(0.5), TINY, TINY)
    source.step(relative, cloud.rays(pose(), pose(0.5), last=150), SECOND)
    source.step(relative, cloud.rays(pose(0.5), pose(1.0), 150), Interval(1.0, 1.5))
    measured = source.step(relative, cloud.rays(pose(1.0), pose(1.5), 150), Interval(1.5, 2.5))
    assert measured.source == "relative"
    length = float(np.linalg.norm(measured.camera.pose.translation))
    assert step_deviation(measured) == pytest.approx(length, rel=0.05)


def test_the_uncertainties_of_held_lengths_add_up():
    source, cloud = RelativeScale(OdometryConfig()), Cloud(noise=0.2)
    relative = relative_pose(pose(0.5), TINY, TINY)
    source.step(relative, cloud.rays(pose(), pose(0.5), last=100), SECOND)
    source.step(relative, cloud.rays(pose(0.5), pose(1.0), 100, 200), Interval(1.0, 2.0))
    second = source.step(relative, cloud.rays(pose(1.0), pose(1.5), 200), Interval(2.0, 3.0))
    assert second.source == "relative (held)"
    length = np.linalg.norm(second.camera.pose.translation)
    assert step_deviation(second) == pytest.approx(np.sqrt(2.0) * length, rel=1e-3)


def test_a_step_from_known_depths_inherits_the_uncertainty_of_their_unit():
    source, cloud = RelativeScale(OdometryConfig()), Cloud(noise=0.2)
    relative = relative_pose(pose(0.5), TINY, TINY)
    source.step(relative, cloud.rays(pose(), pose(0.5), last=150), SECOND)
    source.step(relative, cloud.rays(pose(0.5), pose(1.0), 150), Interval(1.0, 2.0))
    exact = copy.deepcopy(source)
    exact._unit_sigma = 0.0
    rays = cloud.rays(pose(1.0), pose(1.005), 150)
    small = relative_pose(pose(0.005), TINY, TINY)
    uncertain, certain = (each.step(small, rays, Interval(2.0, 3.0)).camera for each in (source, exact))
    translation = uncertain.pose.translation
    assert np.linalg.norm(translation) > 1e-4
    added = uncertain.covariance - certain.covariance
    np.testing.assert_allclose(added[:3, :3], np.outer(translation, translation), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(added[3:], 0.0, atol=1e-15)


def test_a_turn_before_any_step_hides_what_four_deviations_of_the_noise_cover():
    """keyframe_parallax makes one unit until a step has been seen; noise is at least a quarter of a pixel."""
    config = OdometryConfig(keyframe_parallax=0.04)
    turn = source_step(RelativeScale(config), pose(), pose(turn=(0.0, 0.1, 0.0)), noise=0.0)
    assert turn.source == "relative (rotation only)"
    expected = 4.0 * 0.25 / 640.0 / 0.04
    np.testing.assert_allclose(deviations(turn.camera.covariance)[:3], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("tracks", "noise", "sigma_R", "sigma_t"),
    [(40, 3.0, TINY, TINY), (150, 0.1, 0.004, 0.02)],
    ids=["tracks err", "the pose errs"],
)
def test_a_measured_length_has_the_error_of_its_tracks_and_of_the_pose(tracks, noise, sigma_R, sigma_t):
    """Sampled: the first step is exact, the second pose and the tracks of both err."""
    rng = np.random.default_rng(3)
    path = [pose(), pose(0.6, 0.0, 0.3), pose(1.3, 0.2, 0.6, (0.0, 0.05, 0.0))]
    first, second = path[0].inverse() @ path[1], path[1].inverse() @ path[2]
    true_length = np.linalg.norm(second.translation) / np.linalg.norm(first.translation)
    answer = relative_pose(second, sigma_R, sigma_t)
    ratios = []
    for seed in range(150):
        cloud, source = Cloud(tracks, noise=noise, seed=seed), RelativeScale(OdometryConfig())
        source.step(relative_pose(first, TINY, TINY), cloud.rays(path[0], path[1]), SECOND)
        step = source.step(disturbed(answer, rng), cloud.rays(path[1], path[2]), SECOND)
        assert step.source == "relative"
        error = np.linalg.norm(step.camera.pose.translation) - true_length
        assert step_deviation(step) > 0.015 * true_length, (
            "the errors here are not those of the tracks and the pose"
        )
        ratios.append(error / step_deviation(step))
    assert 0.75 < np.sqrt(np.mean(np.square(ratios))) < 1.3


def test_a_measured_length_is_a_hundredth_uncertain_at_least():
    source, cloud = RelativeScale(OdometryConfig()), Cloud(300)
    for before, after, length in ((0.0, 0.5, 1.0), (0.5, 1.5, 2.0)):
        relative = relative_pose(pose(1.0), TINY, TINY)
        step = source.step(relative, cloud.rays(pose(before), pose(after)), SECOND)
        assert step_deviation(step) == pytest.approx(0.01 * length, rel=1e-3)


class Wheels:
    """Wheel odometry that always measures one motion."""

    def __init__(self, motion: Pose) -> None:
        self.motion = motion

    def between(self, start: float, end: float) -> Pose:
        return self.motion


@pytest.mark.parametrize(("length", "sigma"), [(0.5, 0.015), (0.02, 0.003)])
def test_a_length_of_the_wheels_is_three_percent_uncertain_and_three_millimetres_at_least(length, sigma):
    source = WheelScale(OdometryConfig(scale_source="odometry"), Wheels(pose(length)), Pose.identity())
    step = source_step(source, pose(), pose(0.5))
    assert step.source == "odometry"
    assert step_deviation(step) == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize(("length", "sigma"), [(0.5, 0.05), (0.01, 0.003)])
def test_a_direction_of_the_wheels_is_a_tenth_uncertain(length: float, sigma: float):
    source = WheelScale(OdometryConfig(scale_source="odometry"), Wheels(pose(length)), Pose.identity())
    relative = correlated(pose(1.0))
    step = source.step(relative, Cloud(noise=0.2).rays(pose(), pose()), SECOND)
    assert step.source == "odometry (direction of the wheels)"
    expected = np.zeros((6, 6))
    expected[:3, :3] = sigma**2 * np.eye(3)
    expected[3:, 3:] = relative.covariance[3:, 3:]
    np.testing.assert_allclose(step.camera.covariance, expected)


def test_unseen_motion_is_measured_by_what_the_last_step_moved():
    """Length of a translation that moves the median track by a hundredth of the image width."""
    config = OdometryConfig(scale_source="fixed", fixed_step_length=0.5, keyframe_parallax=0.02)
    assert FixedScale(config).length_of_shift(0.01) == pytest.approx(0.25)
    wheels = WheelScale(config, Wheels(pose(0.5)), Pose.identity())
    assert wheels.length_of_shift(0.01) == pytest.approx(0.5)
    relative = RelativeScale(config)
    assert relative.length_of_shift(0.01) == pytest.approx(0.5)
    cloud = Cloud()
    motion = np.median(260.0 * 0.5 / cloud.points[:, 2]) / 320.0
    source_step(wheels, pose(), pose(0.5), noise=0.0)
    assert wheels.length_of_shift(0.01) == pytest.approx(0.01 * 0.5 / motion, rel=1e-3)
    source_step(relative, pose(), pose(0.5), noise=0.0)  # this step is the unit
    assert relative.length_of_shift(0.01) == pytest.approx(0.01 / motion, rel=1e-3)


# Depths of tracks


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


# The pose in the odometry frame, gaps and twists


def moving(integrator: Integrator, speeds: list[float], turns: list[float]) -> None:
    for second, (speed, turn) in enumerate(zip(speeds, turns, strict=True)):
        motion = PoseWithCovariance(pose(speed, turn=(0.0, 0.0, turn)), np.zeros((6, 6)))
        integrator.advance(motion, float(second), second + 1.0)


def gap_deviations(integrator: Integrator, since: float, gap: float) -> Array:
    before = integrator.pose.covariance
    integrator.rest(since + gap, since + gap)
    return np.sqrt(np.diag(integrator.pose.covariance - before))


def test_a_gap_is_as_wide_as_the_smoothed_speed_covers():
    integrator = Integrator()
    moving(integrator, [1.0, 2.0, 0.5], [0.1, 0.3, 0.0])
    # The first step alone, then three tenths of every new one.
    speed = 0.7 * (0.7 * 1.0 + 0.3 * 2.0) + 0.3 * 0.5
    turn = 0.7 * (0.7 * 0.1 + 0.3 * 0.3)
    found = gap_deviations(integrator, 3.0, 2.0)
    np.testing.assert_allclose(found, np.repeat([2.0 * speed, 2.0 * turn], 3), rtol=1e-6)


def test_a_gap_turns_by_half_a_turn_at_most_and_moves_without_limit():
    integrator = Integrator()
    moving(integrator, [1.0], [1.0])
    np.testing.assert_allclose(gap_deviations(integrator, 1.0, 3.0)[3:], 3.0, rtol=1e-6)
    integrator = Integrator()
    moving(integrator, [1.0], [1.0])
    found = gap_deviations(integrator, 1.0, 100.0)
    np.testing.assert_allclose(found, np.repeat([100.0, np.pi], 3), rtol=1e-6)


def test_before_a_speed_is_known_a_gap_is_bridged_with_one_unit_and_half_a_radian_per_second():
    integrator = Integrator()
    integrator.rest(0.0, 0.0)
    np.testing.assert_allclose(gap_deviations(integrator, 0.0, 2.0), np.repeat([2.0, 1.0], 3), rtol=1e-6)


def test_the_origin_has_a_nominal_covariance():
    np.testing.assert_allclose(Integrator().pose.covariance, 1e-12 * np.eye(6))


def test_covariance_of_a_twist_is_that_of_the_step_per_squared_second_in_axes_halfway():
    root = np.random.default_rng(5).normal(size=(6, 6))
    covariance = 1e-4 * root @ root.T
    turn = np.array([0.2, -0.4, 0.6])
    twist = mean_twist(PoseWithCovariance(pose(1.0, turn=tuple(turn)), covariance), 0.5)
    axes = np.kron(np.eye(2), so3.exp(-0.5 * turn))
    np.testing.assert_allclose(twist.covariance, axes @ covariance @ axes.T / 0.25, atol=1e-12)


def test_a_twist_at_rest_has_the_given_deviations():
    np.testing.assert_allclose(deviations(zero_twist(0.1, 0.02).covariance), np.repeat([0.1, 0.02], 3))

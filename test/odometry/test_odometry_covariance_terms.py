"""Every term of the odometry's covariances, each where it dominates or against sampling."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import Cloud, deviations, disturbed, pose, relative_pose

from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryConfig
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
from iup_pose_ros.types import RelativePose

Array = NDArray[np.float64]

NO_TRACKS = np.zeros(0, dtype=np.bool_)
SECOND = Interval(0.0, 1.0)
TINY = 1e-7  # a standard deviation that does not count


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

from __future__ import annotations

import itertools

import numpy as np
import pytest
from odometry_scenes import Cloud, disturbed, pose, positive_definite, relative_pose

from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.metric_scale import scale_source
from iup_pose_ros.odometry.scaled_step import Interval, ScaledStep, metric_step

SECOND = Interval(0.0, 1.0)


def steps(cloud: Cloud, path: list[Pose], settings: OdometryConfig | None = None) -> list[ScaledStep]:
    """The path's steps, a second each, with lengths from tracks of the whole cloud."""
    source = scale_source(settings or OdometryConfig())
    return [
        source.step(relative_pose(before.inverse() @ after), cloud.rays(before, after), SECOND)
        for before, after in itertools.pairwise(path)
    ]


def length(step: ScaledStep) -> float:
    return float(np.linalg.norm(step.camera.pose.translation))


def test_first_step_has_length_one():
    step = steps(Cloud(noise=0.2), [pose(), pose(0.3)])[0]
    assert length(step) == pytest.approx(1.0)
    assert (step.source, step.metric) == ("relative", False)


def test_scale_is_carried_over_changes_of_speed_and_direction():
    path = [pose(), pose(0.5), pose(0.6), pose(1.6, 0.1), pose(1.6, 0.1, 0.7), pose(1.3, 0.0, 0.7)]
    lengths = [length(step) for step in steps(Cloud(noise=0.2), path)]
    true = [np.linalg.norm(b.translation - a.translation) for a, b in itertools.pairwise(path)]
    np.testing.assert_allclose(lengths, np.array(true) / true[0], rtol=0.05)


def test_scale_does_not_drift_on_a_long_way():
    path = [pose(0.1 * k, 0.0, 0.05 * k) for k in range(25)]
    lengths = [length(step) for step in steps(Cloud(noise=0.3), path)]
    assert abs(np.mean(lengths[-8:]) - 1.0) < 0.05


def test_deviation_of_the_length_is_honest_when_pose_and_tracks_have_errors():
    rng = np.random.default_rng(7)
    squares = []
    for seed in range(60):
        cloud = Cloud(150, noise=0.3, seed=seed)
        path = [pose(), pose(0.6, 0.0, 0.3), pose(1.3, 0.2, 0.6, (0.0, 0.05, 0.0))]
        source = scale_source(OdometryConfig())
        first = relative_pose(path[0].inverse() @ path[1], 1e-5, 1e-5)
        source.step(first, cloud.rays(path[0], path[1]), SECOND)
        second = relative_pose(path[1].inverse() @ path[2], 0.002, 0.005)
        step = source.step(disturbed(second, rng), cloud.rays(path[1], path[2]), SECOND)
        T_true = path[1].inverse() @ path[2]
        unit = np.linalg.norm(path[1].translation)
        error = T_true.translation / unit - step.camera.pose.translation
        squares.append(error @ np.linalg.solve(step.camera.covariance[:3, :3], error) / 3.0)
    assert 0.6 < np.mean(squares) < 1.5


def test_turning_on_the_spot_moves_nothing_even_if_the_estimator_claims_a_direction():
    path = [pose(), pose(0.5), pose(1.0), pose(1.0, turn=(0.0, 0.1, 0.0)), pose(1.0, turn=(0.0, 0.2, 0.0))]
    for turn in steps(Cloud(noise=0.2), path)[2:]:
        assert turn.source == "relative (known depths)"
        sigma = np.sqrt(np.diag(turn.camera.covariance)[:3])
        assert np.all(np.abs(turn.camera.pose.translation) < 4.0 * sigma)
        assert np.all(sigma < 0.05)
        assert turn.sigma_t > 0.5


def test_turning_before_the_first_step_says_that_no_translation_was_seen():
    step = steps(Cloud(noise=0.2), [pose(), pose(turn=(0.0, 0.1, 0.0))])[0]
    assert step.source == "relative (rotation only)"
    assert length(step) == 0.0
    assert step.sigma_t == pytest.approx(np.pi / 2)


def test_scale_survives_a_turn_on_the_spot():
    path = [pose(), pose(0.5), pose(1.0), pose(1.0, turn=(0.0, 0.1, 0.0)), pose(1.25, turn=(0.0, 0.1, 0.0))]
    assert length(steps(Cloud(noise=0.2), path)[-1]) == pytest.approx(0.5, rel=0.05)


def test_without_shared_tracks_the_depth_of_the_scene_is_held_with_a_large_deviation():
    cloud = Cloud(noise=0.2)
    source = scale_source(OdometryConfig())
    path = [pose(), pose(0.5), pose(1.5)]
    source.step(
        relative_pose(path[0].inverse() @ path[1]), cloud.rays(path[0], path[1], last=150), Interval(0.0, 0.5)
    )
    step = source.step(
        relative_pose(path[1].inverse() @ path[2]), cloud.rays(path[1], path[2], 150), Interval(0.5, 0.75)
    )
    assert step.source == "relative (held)"
    assert length(step) == pytest.approx(2.0, rel=0.2)
    assert np.sqrt(step.camera.covariance[0, 0]) > 0.9 * length(step)


def test_moving_objects_do_not_change_the_scale():
    cloud = Cloud(noise=0.2)
    rng = np.random.default_rng(2)
    source = scale_source(OdometryConfig())
    path = [pose(0.4 * k) for k in range(5)]
    for before, after in itertools.pairwise(path):
        rays = cloud.rays(before, after)
        rays.current[:60, :2] += rng.normal(0.0, 0.05, (60, 2))
        step = source.step(relative_pose(before.inverse() @ after), rays, SECOND)
    assert length(step) == pytest.approx(1.0, rel=0.03)
    assert np.mean(step.inliers[:60]) < 0.3 < 0.9 < np.mean(step.inliers[60:])


def test_fixed_scale_gives_every_step_its_length():
    settings = OdometryConfig(scale_source="fixed", fixed_step_length=0.25)
    path = [pose(), pose(0.5), pose(0.7), pose(0.7, turn=(0.0, 0.1, 0.0))]
    first, second, turn = steps(Cloud(noise=0.2), path, settings)
    assert (length(first), length(second), length(turn)) == pytest.approx((0.25, 0.25, 0.0))
    assert first.metric
    assert first.source == "fixed"
    assert turn.sigma_t == pytest.approx(np.pi / 2)


def test_estimator_that_knows_the_length_keeps_it():
    relative = relative_pose(pose(0.5))
    step = metric_step(relative, np.ones(3, dtype=np.bool_))
    assert step.metric
    assert step.source == "estimator"
    np.testing.assert_array_equal(step.camera.pose.translation, relative.T_prev_curr.translation)


@pytest.mark.parametrize("count", [0, 5, 300])
def test_every_covariance_is_positive_definite(count: int):
    path = [pose(), pose(turn=(0.0, 0.05, 0.0)), pose(0.5), pose(1.0), pose(1.0, turn=(0.0, 0.1, 0.0))]
    for scale in ("relative", "fixed"):
        for step in steps(Cloud(count, noise=0.2), path, OdometryConfig(scale_source=scale)):
            assert positive_definite(step.camera.covariance)

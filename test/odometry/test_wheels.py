"""Wheel odometry between two moments, and the lengths that it gives to the steps of a camera."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import numpy as np
import pytest
from odometry_scenes import Cloud, Oracle, frame, pose, positive_definite, relative_pose

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryConfig, TrackingState, VisualOdometry, WheelHistory
from iup_pose_ros.odometry.metric_scale import MetricSensors, scale_source
from iup_pose_ros.odometry.scale import WheelScale
from iup_pose_ros.odometry.scaled_step import Interval

SECOND = 1_000_000_000
CONFIG = OdometryConfig(scale_source="odometry")
# x forward on the base is z of the camera; the camera sits ahead of the axle.
MOUNT = Pose.from_quaternion(np.array([-0.5, 0.5, -0.5, 0.5]), np.array([0.5, 0.1, 0.3]))


def between_ends(before: Pose, after: Pose) -> Callable[[float], Pose]:
    """A path that is at ``before`` in second 0 and at ``after`` in second 1."""
    return lambda time: after if time > 0.5 else before


class Wheels:
    """Wheel odometry of a base that moves along a path, until it fails."""

    def __init__(self, path: Callable[[float], Pose]) -> None:
        self.path = path
        self.failure = ""

    def between(self, start: float, end: float) -> Pose:
        if self.failure:
            raise EstimationError(self.failure)
        return self.path(start).inverse() @ self.path(end)


def history(*stamps: float) -> WheelHistory:
    """Of a base that drives at 2 m/s and turns at 0.1 rad/s."""
    wheels = WheelHistory()
    for stamp in stamps:
        wheels.add(round(stamp * SECOND), pose(2.0 * stamp, turn=(0.0, 0.0, 0.1 * stamp)))
    return wheels


def test_motion_is_interpolated_between_samples():
    motion = history(0.0, 0.1, 0.2, 0.3).between(SECOND // 20, SECOND // 4)
    assert np.linalg.norm(motion.translation) == pytest.approx(0.4)
    np.testing.assert_allclose(so3.log(motion.rotation), [0.0, 0.0, 0.02], atol=1e-12)


@pytest.mark.parametrize(
    ("stamps", "start", "end", "words"),
    [
        ((), 0.0, 0.1, "no wheel odometry received"),
        ((0.0, 0.1), 0.05, 0.3, "latest wheel odometry is 0.20 s older"),
        ((1.0, 1.1), 0.5, 1.05, "first wheel odometry is 0.50 s newer"),
        ((0.0, 0.1, 0.9), 0.05, 0.5, "gap of 0.80 s"),
    ],
)
def test_what_the_wheels_do_not_cover_is_named(stamps, start, end, words):
    with pytest.raises(EstimationError, match=words):
        history(*stamps).between(round(start * SECOND), round(end * SECOND))


def test_samples_out_of_order_are_sorted_and_a_clock_set_back_starts_anew():
    wheels = history(0.0, 0.2, 0.1, 0.1, 5.0, 5.1, 0.3, 0.4)
    motion = wheels.between(round(0.3 * SECOND), round(0.35 * SECOND))
    assert np.linalg.norm(motion.translation) == pytest.approx(0.1)
    with pytest.raises(EstimationError, match="first wheel"):
        wheels.between(round(0.1 * SECOND), round(0.35 * SECOND))


def test_an_image_waits_for_the_wheels_that_come_a_little_later():
    wheels = history(0.0, 0.1)
    late = threading.Timer(0.05, lambda: wheels.add(SECOND // 5, pose(0.4, turn=(0.0, 0.0, 0.02))))
    late.start()
    motion = wheels.between(0, round(0.15 * SECOND), patience=20.0)
    assert np.linalg.norm(motion.translation) == pytest.approx(0.3, rel=1e-3)
    late.join()


def test_memory_is_bounded():
    wheels = history(*(0.4 * index for index in range(1000)))
    with pytest.raises(EstimationError, match="first wheel"):
        wheels.between(SECOND, 2 * SECOND)
    wheels.between(390 * SECOND, 391 * SECOND)


def test_without_wheels_the_settings_are_refused():
    with pytest.raises(ConfigurationError, match="no wheel odometry is given"):
        scale_source(CONFIG)


def test_length_is_that_of_the_camera_though_the_wheels_know_only_the_base():
    """A base that turns swings a camera that sits off its axle."""
    base = [pose(), pose(0.3, turn=(0.0, 0.0, 0.2)), pose(0.3, turn=(0.0, 0.0, 0.4))]
    for before, after in itertools.pairwise(base):
        wheels = Wheels(between_ends(before, after))
        cameras = [before @ MOUNT, after @ MOUNT]
        motion = cameras[0].inverse() @ cameras[1]
        scale = WheelScale(CONFIG, wheels, MOUNT)
        step = scale.step(relative_pose(motion), Cloud(noise=0.2).rays(pose(), motion), Interval(0.0, 1.0))
        np.testing.assert_allclose(step.camera.pose.translation, motion.translation, atol=1e-9)
        assert (step.metric, step.source) == (True, "odometry")
        assert positive_definite(step.camera.covariance)


def test_standing_wheels_and_far_scenes_give_a_step_with_a_sound_covariance():
    for length in (0.0, 1e-4, 0.02):
        wheels = Wheels(between_ends(pose(), pose(length)))
        rays = Cloud(noise=0.2).rays(pose(), pose())
        step = WheelScale(CONFIG, wheels, Pose.identity()).step(
            relative_pose(pose()), rays, Interval(0.0, 1.0)
        )
        np.testing.assert_allclose(step.camera.pose.translation, [length, 0.0, 0.0], atol=1e-9)
        assert step.source == "odometry (direction of the wheels)"
        assert step.metric
        assert positive_definite(step.camera.covariance)


def test_trajectory_is_metric_and_lost_while_wheels_are_missing():
    def path(time: float) -> Pose:
        return pose(-0.8 + 0.9 * time, 0.0, 0.3 * time)

    wheels = Wheels(path)
    vo = VisualOdometry(Oracle(path), CONFIG, sensors=MetricSensors(wheels))
    updates = []
    for index in range(30):
        wheels.failure = "no wheels" if 12 <= index < 18 else ""
        updates.append(vo.process(frame(0.1 * index, path(0.1 * index))))
    silent = updates[12:18]
    lost = [update for update in silent if update.state is TrackingState.LOST]
    assert len(lost) >= 3
    assert {update.reason for update in lost} == {"no wheels"}
    assert not any(update.edge for update in silent)
    assert not any(update.pose for update in lost)
    edges = [update.edge for update in updates if update.edge]
    assert all(edge.metric for edge in edges)
    last = next(update for update in reversed(updates) if update.pose)
    true = path(edges[0].previous_stamp).inverse() @ path(last.stamp)
    np.testing.assert_allclose(last.pose.pose.translation, true.translation, atol=0.02)


def test_settings_can_change_while_it_runs():
    def path(time: float) -> Pose:
        return pose(-0.8 + 0.9 * time, 0.0, 0.3 * time)

    counts = []
    for parallax in (0.005, 0.2):
        vo = VisualOdometry(Oracle(path), OdometryConfig())
        for index in range(5):
            vo.process(frame(0.1 * index, path(0.1 * index)))
        before = vo.keyframes
        vo.change(
            OdometryConfig(keyframe_parallax=parallax, keyframe_interval=60.0, keyframe_tracked_fraction=0.1)
        )
        for index in range(5, 20):
            vo.process(frame(0.1 * index, path(0.1 * index)))
        counts.append(vo.keyframes - before)
    assert counts[0] > counts[1], counts

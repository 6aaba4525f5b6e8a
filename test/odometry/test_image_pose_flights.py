"""Odometry at image rate: poses, covariances and twists between keyframes of a flight."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, Oracle, error_of, frame, nees, pose, positive_definite

from iup_pose_ros.demo_scene.demo_recording import CAMERA, render_flight
from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.room import build_room
from iup_pose_ros.demo_scene.threads import one_thread_per_operation
from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import KeyframeEdge, OdometryConfig, OdometryUpdate, TrackingState, VisualOdometry
from iup_pose_ros.types import Frame

PERIOD = 1.0 / 30.0


def since(keyframe: PoseWithCovariance, image: PoseWithCovariance) -> PoseWithCovariance:
    """Pose of an image relative to its keyframe, of two poses in the odometry frame."""
    T_key_image = keyframe.pose.inverse() @ image.pose
    inherited = (keyframe @ PoseWithCovariance.exact(T_key_image)).covariance
    axes = np.kron(np.eye(2), keyframe.pose.rotation)
    return PoseWithCovariance(T_key_image, axes.T @ (image.covariance - inherited) @ axes)


def flight(time: float) -> Pose:
    """A curve among the walls of the test scene, 1 m/s."""
    return pose(
        -0.8 + 0.9 * time, 0.05 * time, 0.5 * time, turn=(0.0, 0.03 * time, 0.02 * np.sin(3.0 * time))
    )


def updates_of(odometry: VisualOdometry, count: int, first: int = 0) -> list[OdometryUpdate]:
    return [odometry.process(frame(PERIOD * k, flight(PERIOD * k))) for k in range(first, first + count)]


@pytest.fixture(scope="module")
def flown() -> list[OdometryUpdate]:
    odometry = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()))
    return updates_of(odometry, 75)


def test_every_image_after_the_first_step_has_pose_and_twist(flown: list[OdometryUpdate]):
    first = next(k for k, update in enumerate(flown) if update.edge)
    for update in flown[first:]:
        assert update.state is TrackingState.TRACKING
        assert update.pose is not None
        assert update.twist is not None
        assert positive_definite(update.pose.covariance)
        assert positive_definite(update.twist.covariance)
    assert sum(1 for update in flown[first:] if update.edge is None) > 40


def unit_of(edge: KeyframeEdge) -> float:
    """Metres per unit of the trajectory, by a step."""
    truth = flight(edge.previous_stamp).inverse() @ flight(edge.current_stamp)
    return float(np.linalg.norm(truth.translation) / np.linalg.norm(edge.base.pose.translation))


def between(start: float, end: float, unit: float) -> Pose:
    """True motion of the camera between two stamps in units of the trajectory."""
    truth = flight(start).inverse() @ flight(end)
    return Pose(truth.rotation, truth.translation / unit)


def test_covariance_between_keyframes_is_larger_than_theirs_and_covers_the_errors(
    flown: list[OdometryUpdate],
):
    edge, keyframe, values = None, None, []
    for update in flown:
        if update.edge:
            edge, keyframe = update.edge, update.pose
        elif update.pose and keyframe and edge:
            assert np.trace(update.pose.covariance) > np.trace(keyframe.covariance)
            truth = between(edge.current_stamp, update.stamp, unit_of(edge))
            values.append(nees(since(keyframe, update.pose), truth))
    assert len(values) > 40
    assert np.mean(values) < 6.0


def test_the_step_of_a_keyframe_is_no_jump_beyond_three_sigma(flown: list[OdometryUpdate]):
    keyframe, jumps = None, []
    for before, update in itertools.pairwise(flown):
        if not (update.edge and update.pose and before.pose):
            continue
        if keyframe and before.edge is None:
            # The pose of the image before, moved on by the true motion, is what continues without a jump.
            expected = before.pose.pose @ between(before.stamp, update.stamp, unit_of(update.edge))
            own = before.pose.covariance + update.pose.covariance - 2.0 * keyframe.covariance
            jumps.append(np.abs(error_of(update.pose, expected)) / np.sqrt(np.diag(own)))
        keyframe = update.pose
    assert len(jumps) >= 3
    assert np.max(jumps) < 3.0


def test_twist_is_the_velocity_at_every_image(flown: list[OdometryUpdate]):
    unit = unit_of(next(update.edge for update in reversed(flown) if update.edge))
    values = []
    for before, update in itertools.pairwise(flown):
        if update.twist is None or before.twist is None or update.edge:
            continue
        step = between(before.stamp, update.stamp, unit)
        half = so3.exp(-0.5 * so3.log(step.rotation))
        true = np.concatenate([half @ step.translation, so3.log(step.rotation)]) / PERIOD
        found = np.concatenate([update.twist.linear, update.twist.angular])
        values.append((true - found) @ np.linalg.solve(update.twist.covariance, true - found))
    assert len(values) > 40
    assert 0.3 < np.mean(values) < 6.0


@pytest.mark.parametrize("source", ["fixed", "relative"])
def test_every_scale_source_has_a_pose_for_every_image(source: str):
    odometry = VisualOdometry(
        EpipolarEstimator(LucasKanadeFrontEnd()), OdometryConfig(scale_source=source, fixed_step_length=0.3)
    )
    updates = updates_of(odometry, 45)
    first = next(k for k, update in enumerate(updates) if update.edge)
    assert all(update.pose for update in updates[first:])
    steps = [
        np.linalg.norm(after.pose.pose.translation - before.pose.pose.translation)
        for before, after in zip(updates[first:], updates[first + 1 :], strict=False)
        if not after.edge
    ]
    assert np.max(steps) < 3.0 * np.median(steps)


def test_a_metric_estimator_has_depths_too():
    odometry = VisualOdometry(Oracle(flight, metric=True))
    updates = updates_of(odometry, 45)
    posed = [update for update in updates if update.pose and not update.edge]
    start = next(update.edge.previous_stamp for update in updates if update.edge)
    assert len(posed) > 20
    for update in posed:
        true = flight(start).inverse() @ flight(update.stamp)
        assert np.linalg.norm(update.pose.pose.translation - true.translation) < 0.02


def test_where_the_tracks_show_no_pose_there_is_none_and_the_state_stays(monkeypatch):
    odometry = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()))
    before = updates_of(odometry, 30)
    assert before[-1].pose

    def failing(*_):
        raise EstimationError("no pose")

    monkeypatch.setattr("iup_pose_ros.odometry.visual_odometry.resection", failing)
    after = updates_of(odometry, 15, first=30)
    assert {update.state for update in after} == {TrackingState.TRACKING}
    for update in after:
        assert (update.pose is None) == (update.edge is None)


def test_after_a_loss_the_motion_goes_on_from_the_last_pose_and_not_from_the_keyframe():
    odometry = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()))
    before = updates_of(odometry, 34)[-1]
    assert before.pose
    assert before.edge is None
    other = replace(INTRINSICS, fx=INTRINSICS.fx + 1.0)
    for k in range(34, 60):
        update = odometry.process(replace(frame(PERIOD * k, flight(PERIOD * k)), intrinsics=other))
        if update.edge:
            break
    expected = before.pose.pose @ update.edge.base.pose
    np.testing.assert_allclose(update.pose.pose.matrix, expected.matrix, atol=1e-9)


@pytest.mark.parametrize(("swing", "turn"), [(0.7, 0.0), (0.0, 0.15)], ids=["direction", "rotation"])
def test_a_wrong_step_of_the_estimator_does_not_bend_the_path(swing: float, turn: float):
    oracle = Oracle(flight)
    # The wrong pose is as in a scene where it fits the tracks of the two images.
    odometry = VisualOdometry(oracle, OdometryConfig(minimum_inlier_fraction=0.0))
    last = [update.edge for update in updates_of(odometry, 45) if update.edge][-1]
    rotated, swung = so3.exp(np.array([0.0, turn, 0.0])), so3.exp(np.array([0.0, swing, 0.0]))
    oracle.change = lambda relative: replace(
        relative,
        T_prev_curr=Pose(rotated @ relative.T_prev_curr.rotation, swung @ relative.T_prev_curr.translation),
    )
    updates = updates_of(odometry, 20, first=45)
    edge = next(update.edge for update in updates if update.edge)
    found, truth = edge.camera, between(edge.previous_stamp, edge.current_stamp, unit_of(last))
    assert so3.angle(found.pose.rotation @ truth.rotation.T) < 0.02
    assert np.linalg.norm(found.pose.translation - truth.translation) < 0.1 * np.linalg.norm(
        truth.translation
    )
    assert nees(found, truth) < 12.0
    assert all(update.state is TrackingState.TRACKING for update in updates)


def test_stamps_of_poses_increase_strictly(flown: list[OdometryUpdate]):
    stamps = [update.stamp for update in flown if update.pose]
    assert np.all(np.diff(stamps) > 0.0)


@pytest.mark.slow
def test_covariance_between_keyframes_is_that_of_the_errors_on_a_rendered_flight():
    camera = CAMERA.resized(320, 240)
    trajectory = fly(rate=30.0).select(np.arange(60, 160))
    with one_thread_per_operation():
        images = list(render_flight(build_room(), trajectory, camera, 0))
    truth = {float(stamp): trajectory.pose(k) for k, stamp in enumerate(trajectory.stamps)}
    odometry = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()))
    edge, keyframe, values = None, None, []
    for stamp, image in zip(truth, images, strict=True):
        update = odometry.process(Frame(image, camera, stamp, "camera_optical"))
        if update.edge:
            edge, keyframe = update.edge, update.pose
        elif update.pose and keyframe and edge:
            step = truth[edge.previous_stamp].inverse() @ truth[edge.current_stamp]
            unit = np.linalg.norm(step.translation) / np.linalg.norm(edge.base.pose.translation)
            true = truth[edge.current_stamp].inverse() @ truth[stamp]
            found = since(keyframe, update.pose)
            values.append(nees(found, Pose(true.rotation, true.translation / unit)))
    print(
        f"{len(values)} poses between keyframes: NEES {np.mean(values):.1f}, median {np.median(values):.1f}"
    )
    assert len(values) > 50
    assert 0.5 * 6.0 < np.mean(values) < 2.0 * 6.0

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from odometry_scenes import (
    CONFIG,
    PERIOD,
    Oracle,
    black,
    disturbed,
    drive,
    forward_right,
    frame,
    odometry,
    pose,
    positive_definite,
    relative_pose,
    states,
)

from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryUpdate, TrackingState, VisualOdometry
from iup_pose_ros.types import RelativePose


def standing(time: float) -> Pose:
    return pose()


def start_and_stop(time: float) -> Pose:
    """At rest for a second, moves for one, at rest again."""
    return pose(float(np.clip(time - 1.05, 0.0, 1.0)))


@pytest.fixture(scope="module")
def curve() -> list[OdometryUpdate]:
    vo, _ = odometry(forward_right)
    return drive(vo, forward_right, range(30))


def test_trajectory_is_the_true_one_up_to_scale(curve: list[OdometryUpdate]):
    posed = [update for update in curve if update.pose]
    first = posed[0].edge.previous_stamp
    truth = [forward_right(first).inverse() @ forward_right(update.stamp) for update in posed]
    found = np.array([update.pose.pose.translation for update in posed])
    true = np.array([T.translation for T in truth])
    unit = np.linalg.norm(true[0])
    assert len(posed) >= 5
    assert np.abs(found * unit - true).max() < 0.03 * np.linalg.norm(true[-1])
    # The steps of the oracle are exact, the tracks that refine them are not.
    assert so3.geodesic_angle(posed[-1].pose.pose.rotation, truth[-1].rotation) < 0.002


def test_poses_are_more_accurate_than_edges():
    """The tracks of several keyframes refine the pose; the edges stay those of the estimator."""
    vo, oracle = odometry(forward_right)
    rng, measured = np.random.default_rng(4), []

    def inaccurate(relative: RelativePose) -> RelativePose:
        measured.append(disturbed(relative_pose(relative.T_prev_curr, sigma_R=0.002), rng))
        return measured[-1]

    oracle.change = inaccurate
    keyframes = [update for update in drive(vo, forward_right, range(38)) if update.edge]
    errors = []
    for before, after in itertools.pairwise(keyframes[1:]):
        edge, refined = after.edge.camera.pose, before.pose.pose.inverse() @ after.pose.pose
        truth = oracle.truth(before.stamp, after.stamp).rotation
        errors.append([so3.geodesic_angle(step.rotation, truth) for step in (edge, refined)])
    by_edges, by_poses = np.sqrt(np.mean(np.square(errors), axis=0))
    assert by_poses < 0.5 * by_edges
    # The checks replace a few of the estimator's poses.
    estimated = {relative.T_prev_curr.rotation.tobytes() for relative in measured}
    assert np.mean([update.edge.camera.pose.rotation.tobytes() in estimated for update in keyframes]) > 0.5


def test_first_frames_initialise_and_then_tracking_needs_no_reason(curve: list[OdometryUpdate]):
    assert curve[0].state is TrackingState.INITIALIZING
    assert curve[0].reason
    first = next(k for k, update in enumerate(curve) if update.edge)
    assert all((update.state, update.reason) == (TrackingState.TRACKING, "") for update in curve[first:])


def test_edges_form_a_chain_and_carry_pose_and_twist(curve: list[OdometryUpdate]):
    edges = [update.edge for update in curve if update.edge]
    for before, after in itertools.pairwise(edges):
        assert (before.current_id, before.current_stamp) == (after.previous_id, after.previous_stamp)
    assert all(update.pose and update.twist for update in curve if update.edge)
    assert edges[0].estimator == "oracle"
    assert not edges[0].metric


@pytest.mark.parametrize("probability", [0.75, None])
def test_edges_carry_the_probability_of_the_estimate(probability: float | None):
    vo, oracle = odometry(forward_right)
    oracle.change = lambda relative: replace(relative, inlier_probability=probability)
    edges = [update.edge for update in drive(vo, forward_right, range(8)) if update.edge]
    assert edges
    for edge in edges:
        expected = np.nan if probability is None else probability
        assert edge.inlier_probability == pytest.approx(expected, nan_ok=True)


def test_every_covariance_is_positive_definite_and_the_poses_grow(curve: list[OdometryUpdate]):
    for update in curve:
        if update.edge:
            covariances = (update.edge.camera, update.edge.base, update.pose, update.twist)
            assert all(positive_definite(item.covariance) for item in covariances)
    traces = [np.trace(update.pose.covariance) for update in curve if update.edge]
    assert np.all(np.diff(traces) > 0.0)


def test_twist_at_keyframe_rate_is_the_last_step_over_time():
    vo, _ = odometry(forward_right, replace(CONFIG, odometry_rate="keyframe"))
    updates = drive(vo, forward_right, range(30))
    assert sum(1 for update in updates if update.edge) >= 5
    for update in updates:
        assert (update.edge is None) == (update.pose is None) == (update.twist is None)
        if update.edge:
            interval = update.edge.current_stamp - update.edge.previous_stamp
            step = update.edge.base.pose
            assert np.linalg.norm(update.twist.linear) * interval == pytest.approx(
                np.linalg.norm(step.translation)
            )
            np.testing.assert_allclose(update.twist.angular * interval, so3.log(step.rotation), atol=1e-12)


def test_base_that_turns_under_a_camera_on_a_lever_arm_does_not_move():
    mount = pose(z=1.2)

    def swing(time: float) -> Pose:
        return pose(turn=(0.0, 0.15 * time, 0.0)) @ mount

    vo = VisualOdometry(Oracle(swing, metric=True), CONFIG, mount)
    edges = [update.edge for update in drive(vo, swing, range(25)) if update.edge]
    assert len(edges) >= 2
    for edge in edges:
        assert edge.metric
        assert np.linalg.norm(edge.camera.pose.translation) > 0.02
        np.testing.assert_allclose(edge.base.pose.translation, 0.0, atol=1e-9)
        assert np.trace(edge.base.covariance[:3, :3]) > np.trace(edge.camera.covariance[:3, :3])


def test_standing_camera_is_reported_at_rest_at_the_origin():
    vo, oracle = odometry(standing)
    updates = drive(vo, standing, range(20))
    assert updates[0].state is TrackingState.INITIALIZING
    assert all(update.state is TrackingState.STATIONARY for update in updates[8:])
    last = updates[-1]
    assert last.edge is None
    np.testing.assert_array_equal(last.pose.pose.matrix, np.eye(4))
    assert not last.twist.linear.any()
    assert not last.twist.angular.any()
    assert positive_definite(last.pose.covariance)
    assert positive_definite(last.twist.covariance)
    assert oracle.calls == 0


def test_stop_and_go_loses_no_motion_and_rest_adds_none():
    vo, _ = odometry(start_and_stop)
    updates = drive(vo, start_and_stop, range(32))
    assert updates[9].state is TrackingState.STATIONARY
    resting = [update for update in updates[20:] if update.state is TrackingState.STATIONARY]
    assert len(resting) >= 4
    edges = [update.edge for update in updates if update.edge]
    unit = np.linalg.norm(
        start_and_stop(edges[0].current_stamp).translation
        - start_and_stop(edges[0].previous_stamp).translation
    )
    assert abs(np.linalg.norm(resting[-1].pose.pose.translation) * unit - 1.0) < 0.05
    for before, after in itertools.pairwise(resting):
        np.testing.assert_array_equal(before.pose.pose.matrix, after.pose.pose.matrix)
        np.testing.assert_array_equal(before.pose.covariance, after.pose.covariance)
    # The first step after the rest lasts as long as the motion, not as long as the rest.
    assert edges[0].current_stamp - edges[0].previous_stamp < 0.8


@pytest.mark.parametrize("dark_frames", [2, 12])
def test_darkness_is_lost_and_a_few_good_frames_recover_without_a_jump(dark_frames: int):
    vo, _ = odometry(forward_right)
    before = drive(vo, forward_right, range(15))[-1]
    dark = [vo.process(black(PERIOD * k)) for k in range(15, 15 + dark_frames)]
    assert states(dark) == {TrackingState.LOST}
    for update in dark:
        assert (update.pose, update.twist, update.edge) == (None, None, None)
        assert update.reason
    after = drive(vo, forward_right, range(15 + dark_frames, 35))
    assert states(after[4:]) == {TrackingState.TRACKING}
    first = next(update for update in after if update.edge)
    jump = first.pose.pose.translation - before.pose.pose.translation
    assert np.linalg.norm(jump) < 1.5 * np.linalg.norm(first.edge.base.pose.translation)
    assert np.trace(first.pose.covariance) > np.trace(before.pose.covariance)


def test_long_gap_adds_the_uncertainty_of_what_was_not_seen():
    vo, _ = odometry(forward_right)
    last = [update for update in drive(vo, forward_right, range(15)) if update.pose][-1]
    for k in range(15, 27):
        vo.process(black(PERIOD * k))
    first = next(update for update in drive(vo, forward_right, range(27, 40)) if update.edge)
    gap = first.edge.previous_stamp - last.stamp
    speed = np.linalg.norm(last.twist.linear)
    assert gap > 1.0
    assert first.edge.scale_source == "relative (held)"
    assert np.sqrt(first.pose.covariance[0, 0]) > 0.5 * speed * gap
    assert np.sqrt(first.pose.covariance[0, 0]) < 3.0 * speed * gap


def test_short_darkness_keeps_the_scale():
    vo, _ = odometry(forward_right)
    drive(vo, forward_right, range(15))
    for k in (15, 16):
        vo.process(black(PERIOD * k))
    edges = [update.edge for update in drive(vo, forward_right, range(17, 25)) if update.edge]
    assert edges
    assert all(edge.scale_source == "relative" for edge in edges)


def test_failing_estimator_is_lost_with_its_reason_and_comes_back():
    vo, oracle = odometry(forward_right)
    drive(vo, forward_right, range(15))
    oracle.failure = "not enough matches: 3"
    lost = drive(vo, forward_right, range(15, 20))
    assert lost[-1].state is TrackingState.LOST
    assert lost[-1].reason == "not enough matches: 3"
    assert lost[-1].pose is None
    oracle.failure = None
    assert states(drive(vo, forward_right, range(20, 25))) == {TrackingState.TRACKING}


def turned(relative: RelativePose, angle: float) -> RelativePose:
    T = relative.T_prev_curr
    return replace(
        relative, T_prev_curr=Pose(so3.exp(np.array([0.0, 0.0, angle])) @ T.rotation, T.translation)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda relative: turned(relative, 0.2), "tracks agree"),
        (lambda relative: turned(relative, 3.0), "rad/s"),
        (lambda relative: replace(relative, covariance=np.zeros((6, 6))), "not positive definite"),
        (lambda relative: replace(relative, sigma_t=float("nan")), "not finite"),
        (
            lambda relative: replace(relative, T_prev_curr=Pose(np.eye(3), np.zeros(3))),
            "no direction",
        ),
    ],
)
def test_absurd_answers_are_not_believed(change: Callable[[RelativePose], RelativePose], reason: str):
    vo, oracle = odometry(forward_right, replace(CONFIG, maximum_rotation_rate=3.0))
    oracle.change = change
    updates = drive(vo, forward_right, range(10))
    refused = [update for update in updates if update.state is TrackingState.LOST]
    assert refused
    assert all(reason in update.reason for update in refused)
    assert all(update.pose is None for update in updates)


def test_pure_rotation_invents_no_translation_with_a_real_estimator():
    def path(time: float) -> Pose:
        swing = 0.12 * max(0.0, time - 1.0)
        return pose(min(0.5 * time, 0.5), turn=(0.0, -swing, 0.0))

    vo = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()), replace(CONFIG, keyframe_rotation=0.05))
    updates = drive(vo, path, range(35))
    edges = [update.edge for update in updates if update.edge]
    turns = [edge for edge in edges if edge.previous_stamp >= 1.0]
    assert len(turns) >= 3
    assert any(edge.previous_stamp < 0.9 for edge in edges)
    for turn in turns:
        assert np.linalg.norm(turn.camera.pose.translation) < 0.1
        deviations = np.sqrt(np.diag(turn.camera.covariance)[:3])
        assert np.all(np.abs(turn.camera.pose.translation) < 4.0 * deviations)


def test_reset_returns_to_the_origin():
    vo, _ = odometry(forward_right)
    drive(vo, forward_right, range(15))
    vo.reset()
    updates = drive(vo, forward_right, range(10))
    assert updates[0].state is TrackingState.INITIALIZING
    first = next(update for update in updates if update.edge)
    assert first.edge.previous_id == 0
    np.testing.assert_allclose(np.linalg.norm(first.pose.pose.translation), 1.0)


def test_darkness_at_the_start_is_no_loss_and_is_explained():
    vo, _ = odometry(forward_right)
    update = vo.process(black(0.0))
    assert update.state is TrackingState.INITIALIZING
    assert "too few corners" in update.reason
    assert any(update.edge for update in drive(vo, forward_right, range(1, 12)))


@pytest.mark.parametrize("covered", [0.6, 0.7])
def test_something_that_moves_in_front_of_a_camera_at_rest_makes_no_motion(covered):
    vo = VisualOdometry(EpipolarEstimator(LucasKanadeFrontEnd()), CONFIG)
    rng = np.random.default_rng(4)
    cloth = cv2.GaussianBlur(rng.normal(0.0, 1.0, (240, 900)), (0, 0), 2.0)
    cloth = np.clip(128.0 + 55.0 * cloth / cloth.std(), 0, 255).astype(np.uint8)
    left = round(160 - 160 * covered)
    updates = []
    for index in range(30):
        seen = frame(PERIOD * index, pose())
        image = seen.image.copy()
        image[:, left : 320 - left] = cloth[:, 4 * index : 4 * index + 320 - 2 * left]
        updates.append(vo.process(replace(seen, image=image)))
    assert states(updates) <= {TrackingState.INITIALIZING, TrackingState.LOST}
    assert any("objects move in front of a resting camera" in update.reason for update in updates)
    assert all(update.edge is None for update in updates)

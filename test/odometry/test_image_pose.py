"""Poses of the images between keyframes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, Cloud, Oracle, frame, pose, positive_definite

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
from iup_pose_ros.odometry.depths import InverseDepths, depths_after_step
from iup_pose_ros.odometry.image_pose import ImagePose, resection
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

FRAME = Frame(np.zeros((240, 320), dtype=np.uint8), INTRINSICS, 0.0, "camera_optical")
MOTION = pose(0.25, 0.05, 0.15, (0.01, 0.03, -0.02))
TYPICAL = 0.15
PERIOD = 1.0 / 30.0


def tracks_to(cloud: Cloud, T_key_image: Pose, stamp: float = 0.1) -> Tracks:
    """Tracks of a cloud from a keyframe at the origin."""
    rays = cloud.rays(Pose.identity(), T_key_image)
    before, after = INTRINSICS.project(rays.previous), INTRINSICS.project(rays.current)
    return Tracks(FRAME, replace(FRAME, stamp=stamp), rays.ids, before, after, len(rays), 7)


def known_depths(cloud: Cloud, relative_sigma: float, share: float = 1.0) -> InverseDepths:
    """The depths of the first share of the points, with drawn errors."""
    count = int(share * cloud.count)
    inverse = 1.0 / cloud.points[:count, 2]
    error = cloud.rng.normal(0.0, 1.0, count) * relative_sigma * inverse
    return InverseDepths.independent(np.arange(count), inverse + error, (relative_sigma * inverse) ** -2.0)


def error_of(found: PoseWithCovariance, truth: Pose) -> np.ndarray:
    turn = so3.log(truth.rotation @ found.pose.rotation.T)
    return np.concatenate([truth.translation - found.pose.translation, turn])


def since(keyframe: PoseWithCovariance, image: PoseWithCovariance) -> PoseWithCovariance:
    """Pose of an image relative to its keyframe, of two poses in the odometry frame."""
    T_key_image = keyframe.pose.inverse() @ image.pose
    inherited = (keyframe @ PoseWithCovariance.exact(T_key_image)).covariance
    axes = np.kron(np.eye(2), keyframe.pose.rotation)
    return PoseWithCovariance(T_key_image, axes.T @ (image.covariance - inherited) @ axes)


def nees(found: PoseWithCovariance, truth: Pose) -> float:
    error = error_of(found, truth)
    return float(error @ np.linalg.solve(found.covariance, error))


def test_pose_follows_from_tracks_of_known_depth():
    cloud = Cloud(400)
    found = resection(tracks_to(cloud, MOTION), known_depths(cloud, 1e-4), TYPICAL, Pose.identity())
    np.testing.assert_allclose(error_of(found.motion, MOTION), 0.0, atol=2e-4)
    assert positive_definite(found.motion.covariance)
    assert (found.stamp, found.keyframe_id) == (0.1, 7)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.05])
def test_covariance_covers_the_errors_of_tracks_and_depths(share: float):
    values = []
    for seed in range(40):
        cloud = Cloud(300, noise=0.3, seed=seed)
        depths = known_depths(cloud, 0.1, share)
        values.append(
            nees(resection(tracks_to(cloud, MOTION), depths, TYPICAL, Pose.identity()).motion, MOTION)
        )
    # Errors are independent here; the covariance assumes that four tracks count as one.
    assert 0.8 < np.mean(values) < 3.0


@pytest.mark.parametrize("moving", [60, 100])
def test_a_fifth_of_moving_tracks_changes_nothing_and_a_third_leaves_no_pose(moving: int):
    cloud = Cloud(300, noise=0.1)
    tracks = tracks_to(cloud, MOTION)
    tracks.points_latest[:moving] += [9.0, -4.0]
    depths = known_depths(cloud, 0.05)
    if moving == 100:
        with pytest.raises(EstimationError, match="only 67% of 300 tracks show one motion"):
            resection(tracks, depths, TYPICAL, Pose.identity())
        return
    found = resection(tracks, depths, TYPICAL, Pose.identity())
    assert nees(found.motion, MOTION) < 20.0
    assert found.ids.min() >= moving


def test_moving_tracks_of_unknown_depth_do_not_count():
    cloud = Cloud(300, noise=0.1)
    tracks = tracks_to(cloud, MOTION)
    tracks.points_latest[100:] += [9.0, -4.0]
    found = resection(tracks, known_depths(cloud, 0.05, share=1 / 3), TYPICAL, Pose.identity())
    assert nees(found.motion, MOTION) < 20.0
    assert found.ids.max() < 100


def test_without_known_depths_the_scale_is_the_typical_one_and_very_unsure():
    cloud = Cloud(300, noise=0.1)
    depths = InverseDepths.none()
    found = resection(tracks_to(cloud, MOTION), depths, TYPICAL, Pose.identity()).motion
    direction = MOTION.translation / np.linalg.norm(MOTION.translation)
    length = float(found.pose.translation @ direction)
    deviation = float(np.sqrt(direction @ found.covariance[:3, :3] @ direction))
    assert length > 0.0
    assert deviation > 0.5 * length
    assert np.linalg.norm(error_of(found, MOTION)[3:]) < 0.01


def test_rotation_alone_is_measured_without_known_depths():
    turn = pose(turn=(0.02, -0.03, 0.01))
    found = resection(tracks_to(Cloud(300, noise=0.1), turn), InverseDepths.none(), TYPICAL, Pose.identity())
    assert nees(found.motion, turn) < 20.0
    assert np.linalg.norm(error_of(found.motion, turn)[3:]) < 0.002


def test_tracks_without_a_common_motion_and_too_few_tracks_give_no_pose():
    cloud = Cloud(300)
    tracks = tracks_to(cloud, MOTION)
    wild = replace(tracks, points_latest=tracks.points_latest + cloud.rng.normal(0.0, 8.0, (300, 2)))
    with pytest.raises(EstimationError, match="do not show one motion"):
        resection(wild, known_depths(cloud, 0.05), TYPICAL, Pose.identity())
    with pytest.raises(EstimationError, match="11 tracks do not determine"):
        resection(tracks_to(Cloud(11), MOTION), InverseDepths.none(), TYPICAL, Pose.identity())


def test_errors_of_the_step_that_measured_the_depths_are_in_the_covariance():
    """Every depth errs with the pose of the step; many tracks do not average this out."""
    rng = np.random.default_rng(3)
    first = pose(0.5, 0.05, 0.1)
    deviations = np.diag([0.02, 0.02, 0.02, 0.002, 0.002, 0.002]) ** 2
    values = []
    for seed in range(40):
        cloud = Cloud(300, noise=0.05, seed=seed)
        rays = cloud.rays(Pose.identity(), first)
        error = rng.multivariate_normal(np.zeros(6), deviations)
        wrong = Pose(so3.exp(error[3:]) @ first.rotation, first.translation + error[:3])
        step = ScaledStep(
            PoseWithCovariance(wrong, deviations), 0.05, False, "", np.ones(300, dtype=np.bool_)
        )
        depths = depths_after_step(InverseDepths.none().of(rays.ids), rays, step)
        second = first @ MOTION
        cloud.points[:] = first.inverse().apply(cloud.points)
        tracks = tracks_to(cloud, first.inverse() @ second)
        values.append(nees(resection(tracks, depths, TYPICAL, Pose.identity()).motion, MOTION))
    assert 1.0 < np.mean(values) < 6.0


def test_motion_between_two_images_is_surer_than_the_poses_are():
    cloud = Cloud(300)
    depths = known_depths(cloud, 0.05)
    depths = replace(depths, common=0.05 * depths.inverse[:, None] * np.eye(1, 6))
    errors = cloud.rng.normal(0.0, 0.3, (300, 2))
    poses = []
    for k, T in enumerate((MOTION, MOTION @ pose(0.02, 0.0, 0.01, (0.0, 0.002, 0.0)))):
        tracks = tracks_to(cloud, T, 0.1 + 0.1 * k)
        drift = errors + cloud.rng.normal(0.0, 0.03, (300, 2))
        moved = replace(tracks, points_latest=tracks.points_latest + drift)
        poses.append(resection(moved, depths, TYPICAL, Pose.identity()))
    increment = poses[0].motion_to(poses[1])
    truth = pose(0.02, 0.0, 0.01, (0.0, 0.002, 0.0))
    assert nees(increment, truth) < 20.0
    assert np.trace(increment.covariance) < 0.3 * np.trace(poses[1].motion.covariance)
    start = ImagePose.of_keyframe(tracks)
    np.testing.assert_allclose(start.motion_to(poses[0]).covariance, poses[0].motion.covariance)


@pytest.mark.parametrize("shares", [(1, 2, 3, 4, 5), (1, 1.5, 3, 3.1, 5)], ids=["even", "uneven"])
def test_motions_of_consecutive_images_add_up_to_the_covariance_of_the_pose(shares):
    """The scale errs in all images of a keyframe alike, but a filter takes their motions as independent."""
    cloud = Cloud(300, noise=0.05)
    depths = known_depths(cloud, 0.01)
    depths = replace(depths, common=0.05 * depths.inverse[:, None] * np.eye(1, 6))
    last = ImagePose.of_keyframe(tracks_to(cloud, MOTION))
    total = PoseWithCovariance.exact(Pose.identity())
    for number, share in enumerate(shares):
        tracks = tracks_to(cloud, pose(0.08 * share, 0.0, 0.04 * share), 0.1 * (number + 1))
        image = resection(tracks, depths, TYPICAL, last.motion.pose)
        total, last = total @ last.motion_to(image), image
    deviation = [np.sqrt(np.trace(each.covariance[:3, :3])) for each in (total, last.motion)]
    assert deviation[1] > 0.9 * 0.05 * np.linalg.norm(last.motion.pose.translation)
    assert 0.95 < deviation[0] / deviation[1] < 1.5


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

"""Poses of the images between keyframes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, Cloud, error_of, nees, pose, positive_definite

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry.depths import InverseDepths, depths_after_step
from iup_pose_ros.odometry.image_pose import ImagePose, resection
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

FRAME = Frame(np.zeros((240, 320), dtype=np.uint8), INTRINSICS, 0.0, "camera_optical")
MOTION = pose(0.25, 0.05, 0.15, (0.01, 0.03, -0.02))
TYPICAL = 0.15


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


def test_pose_follows_from_tracks_of_known_depth():
    cloud = Cloud(400)
    found = resection(tracks_to(cloud, MOTION), known_depths(cloud, 1e-4), TYPICAL, Pose.identity())
    np.testing.assert_allclose(error_of(found.motion, MOTION), 0.0, atol=2e-4)
    assert positive_definite(found.motion.covariance)
    assert (found.stamp, found.keyframe_id) == (0.1, 7)


@pytest.mark.parametrize("turn", [0.16, 0.3])
def test_an_object_that_moves_against_a_fast_turn_changes_nothing(turn: float):
    motion = pose(0.05, 0.0, 0.3, (0.0, turn, 0.0))
    for seed in range(4):
        cloud = Cloud(200, noise=0.1, seed=seed)
        cloud.points = cloud.points[np.argsort(cloud.points[:, 0] / cloud.points[:, 2])]
        cloud.points *= 3.0 / cloud.points[:, 2:]
        tracks = tracks_to(cloud, motion)
        # The object is the left fifth of the image, before a plane that fills the rest.
        moved = (tracks.points_latest - tracks.points_keyframe)[:40]
        tracks.points_latest[:40] -= cloud.rng.uniform(1.1, 1.4, (40, 1)) * moved
        found = resection(tracks, known_depths(cloud, 0.02), TYPICAL, Pose.identity())
        np.testing.assert_allclose(error_of(found.motion, motion), 0.0, atol=0.05)


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
        depths, _ = depths_after_step(InverseDepths.none().of(rays.ids), rays, step)
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

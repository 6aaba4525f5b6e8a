"""Every term of the covariance of a pose between keyframes, against least squares or one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, Cloud, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.image_pose import ImagePose, resection
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

Array = NDArray[np.float64]

FRAME = Frame(np.zeros((240, 320), dtype=np.uint8), INTRINSICS, 0.0, "camera_optical")
MOTION = pose(0.25, 0.05, 0.15, (0.01, 0.03, -0.02))
TYPICAL = 0.15
NOTHING = np.zeros((6, 7))  # no errors by the depths
# Assumed noise of exact tracks, z = 1: a quarter of a pixel of an image that is 640 pixels wide.
NOISE = 0.25 / 640.0 * 320.0 / 260.0


def exact_tracks(cloud: Cloud) -> Tracks:
    rays = cloud.rays(Pose.identity(), MOTION)
    before, after = INTRINSICS.project(rays.previous), INTRINSICS.project(rays.current)
    return Tracks(FRAME, replace(FRAME, stamp=0.1), rays.ids, before, after, len(rays), 7)


def predicted(rays: Array, inverse: Array, error: Array) -> Array:
    """Image points (N, 2), z = 1, of points by their inverse depths, from MOTION with an error (6,)."""
    rotation, translation = so3.exp(error[3:]) @ MOTION.rotation, MOTION.translation + error[:3]
    points = (rays - inverse[:, None] * translation) @ rotation
    return points[:, :2] / points[:, 2:]


def information(rays: Array, inverse: Array, sigma: Array) -> Array:
    """Information (6, 6) of exact image points and of inverse depths with these deviations (N,)."""
    step = 1e-6
    by_pose = np.stack(
        [
            (predicted(rays, inverse, step * axis) - predicted(rays, inverse, -step * axis)) / (2.0 * step)
            for axis in np.eye(6)
        ],
        axis=2,
    )
    ahead, behind = (predicted(rays, inverse + sign * step, np.zeros(6)) for sign in (1.0, -1.0))
    by_depth = (ahead - behind) / (2.0 * step)
    covariances = NOISE**2 * np.eye(2) + sigma[:, None, None] ** 2 * by_depth[:, :, None] * by_depth[:, None]
    return np.einsum("nai,nab,nbj->ij", by_pose, np.linalg.inv(covariances), by_pose)


@pytest.mark.parametrize("relative", [1e-4, 0.03, 0.3])
def test_noise_of_tracks_and_independent_errors_of_depths_are_those_of_least_squares(relative: float):
    """Four neighbouring tracks count as one."""
    cloud = Cloud(80)
    tracks, inverse = exact_tracks(cloud), 1.0 / cloud.points[:, 2]
    known = InverseDepths.independent(np.arange(80), inverse, (relative * inverse) ** -2.0)
    found = resection(tracks, known, TYPICAL, MOTION)
    assert found.noise == pytest.approx(NOISE)
    expected = 4.0 * np.linalg.inv(information(tracks.rays.previous, inverse, relative * inverse))
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found.by_noise / scale, expected / scale, atol=1e-3)
    np.testing.assert_allclose(found.motion.covariance, found.by_noise, atol=1e-15)


def test_without_known_depths_the_scale_is_as_uncertain_as_it_is_large():
    found = resection(exact_tracks(Cloud(80)), InverseDepths.none(), TYPICAL, MOTION)
    translation = found.motion.pose.translation
    assert np.linalg.norm(translation) > 0.01
    np.testing.assert_allclose(found.by_depths[:, 6], [*translation, 0.0, 0.0, 0.0])


def image(ids: NDArray[np.int64], residuals: Array, by_noise: Array, by_depths: Array) -> ImagePose:
    """An image at its keyframe, with a noise of 1e-3 of its tracks."""
    motion = PoseWithCovariance(Pose.identity(), by_noise + by_depths @ by_depths.T)
    return ImagePose(0.1, 0, 0.0, motion, by_noise, by_depths, 1e-3, ids, residuals, len(ids))


@pytest.mark.parametrize(("change", "noise"), [(0.0, 0.3e-3), (0.8e-3, 1.4826 * 0.8e-3)])
def test_motion_between_images_has_the_noise_of_the_changes_of_their_tracks(change: float, noise: float):
    """At least three tenths of the later image's noise."""
    rng = np.random.default_rng(0)
    ids, residuals = np.arange(40), rng.normal(0.0, 1e-3, (40, 2))
    moved = residuals + change * np.sign(rng.normal(size=(40, 2)))
    by_noise = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    first, second = (image(ids, each, by_noise, NOTHING) for each in (residuals, moved))
    np.testing.assert_allclose(first.motion_to(second).covariance, by_noise * (noise / 1e-3) ** 2)


def test_motion_between_images_has_the_growth_of_the_errors_by_depths():
    """Exact if the errors keep their direction, as with an error of the scale; else an upper bound."""
    ids, still, rng = np.arange(40), np.zeros((40, 2)), np.random.default_rng(0)
    exact, errors, others = 1e-12 * np.eye(6), *rng.normal(size=(2, 6, 7))
    first, later, other, keyframe = (
        image(ids, still, exact, each) for each in (errors, 1.25 * errors, others, NOTHING)
    )
    growth = first.motion_to(later).covariance
    np.testing.assert_allclose(growth, (1.25**2 - 1.0) * errors @ errors.T, atol=1e-9)
    np.testing.assert_allclose(keyframe.motion_to(first).covariance, errors @ errors.T, atol=1e-9)
    excess = first.motion_to(other).covariance - (others @ others.T - errors @ errors.T)
    assert np.linalg.eigvalsh(excess)[0] > -1e-9
    ratio = np.linalg.norm(errors[:3]) / np.linalg.norm((others - errors)[:3])
    root = np.sqrt(ratio) * (others - errors) - errors / np.sqrt(ratio)
    np.testing.assert_allclose(excess, root @ root.T, atol=1e-9)


def test_motion_between_images_without_common_tracks_has_the_noise_of_both():
    none = np.zeros((40, 2))
    first, second = np.diag(np.arange(1.0, 7.0)), np.diag(np.arange(7.0, 13.0))
    found = image(np.arange(40), none, first, NOTHING).motion_to(
        image(np.arange(40, 80), none, second, NOTHING)
    )
    np.testing.assert_allclose(found.covariance, first + second)

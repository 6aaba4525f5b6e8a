"""The robot's own hood stays in place in the image while the scene moves: it must not steer the pose."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from odometry_scenes import INTRINSICS, Cloud, frame, pose

from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.geometry import so3
from iup_pose_ros.odometry import TrackingState, VisualOdometry
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.pose_check import fixed_in_image
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

RATE = 15.0
HOOD = 5 * INTRINSICS.height // 6  # first row


def behind_hood(seen: Frame) -> Frame:
    """The frame above a textured hood over a sixth of the image, which has noise of its own."""
    texture = cv2.GaussianBlur(np.random.default_rng(6).uniform(-128.0, 128.0, seen.image.shape), (0, 0), 2.0)
    noise = np.random.default_rng(int(seen.stamp * 1e4) + 1).normal(0.0, 1.0, texture.shape)
    image = seen.image.copy()
    image[HOOD:] = (128.0 + 3.0 * texture + noise).clip(0, 255)[HOOD:]
    return replace(seen, image=image)


def path(t: float):
    """Sideways and ahead, turning to both sides."""
    return pose(0.4 * t, 0.0, 0.3 * t, turn=(0.0, 0.15 * np.sin(1.5 * t), 0.05 * t))


def test_what_is_fixed_in_the_image_does_not_steer_the_pose():
    odometry = VisualOdometry(create_estimator("epipolar_klt"))
    updates = [odometry.process(behind_hood(frame(k / RATE, path(k / RATE)))) for k in range(int(4.0 * RATE))]
    assert not [update.reason for update in updates if update.state is TrackingState.LOST]
    edges = [update.edge for update in updates if update.edge]
    assert len(edges) >= 5
    for edge in edges:
        truth = path(edge.previous_stamp).inverse() @ path(edge.current_stamp)
        found = edge.camera.pose
        units = [each / np.linalg.norm(each) for each in (truth.translation, found.translation)]
        direction = np.degrees(np.arccos(np.clip(units[0] @ units[1], -1.0, 1.0)))
        assert direction < 6.0 or np.radians(direction) < 3.0 * edge.sigma_t, edge.current_stamp
        assert np.degrees(so3.angle(truth.rotation @ found.rotation.T)) < 0.5, edge.current_stamp


def test_tracks_that_have_shown_parallax_are_part_of_the_scene():
    """The same tracks stay in place in the image; of half of them a depth is known from earlier steps."""
    moving = Cloud(150).rays(pose(), pose(0.5, 0.1, turn=(0.0, 0.1, 0.0)))
    still = np.random.default_rng(2).uniform([0.0, 200.0], [320.0, 240.0], (60, 2))
    before, after = (INTRINSICS.project(rays) for rays in (moving.previous, moving.current))
    view = frame(0.0, pose())
    tracks = Tracks(
        view,
        replace(view, stamp=1.0),
        np.arange(210),
        np.vstack([before, still]),
        np.vstack([after, still + 0.05]),
        210,
        0,
    )
    known = np.arange(210) >= 180
    depths = InverseDepths.independent(tracks.ids, np.full(210, 0.2), np.where(known, 1e4, 0.0))
    fixed = fixed_in_image(tracks, depths, 20)
    np.testing.assert_array_equal(fixed[150:], ~known[150:])
    assert np.count_nonzero(fixed[:150]) < 5

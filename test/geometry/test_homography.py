"""The rotational homography against OpenCV's projection of points at infinity."""

from __future__ import annotations

import cv2
import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.homography import rotational_homography

CAMERA_0 = Intrinsics(400.0, 410.0, 319.5, 239.5, 640, 480)
CAMERA_1 = Intrinsics(300.0, 290.0, 200.0, 150.0, 400, 300)


def test_homography_moves_pixels_as_a_rotation_moves_rays():
    random = np.random.default_rng(0)
    vector = np.array([0.1, -0.2, 0.15])
    pixels = random.uniform([100, 100], [500, 400], size=(20, 2))
    mapped = cv2.perspectiveTransform(
        pixels[None], rotational_homography(CAMERA_1, so3.exp(vector), CAMERA_0)
    )[0]
    expected, _ = cv2.projectPoints(CAMERA_0.rays(pixels), vector, np.zeros(3), CAMERA_1.matrix, None)
    np.testing.assert_allclose(mapped, expected[:, 0], atol=1e-8)


def test_reversed_homography_is_the_inverse():
    rotation = so3.exp(np.array([0.3, 0.1, -0.4]))
    forward = rotational_homography(CAMERA_1, rotation, CAMERA_0)
    backward = rotational_homography(CAMERA_0, rotation.T, CAMERA_1)
    np.testing.assert_allclose(forward @ backward, np.eye(3), atol=1e-10)

"""Undistortion: straight rays come out where the pinhole intrinsics say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.rectification import Rectifier

WIDTH, HEIGHT = 640, 480
K = [400.0, 0.0, 318.0, 0.0, 405.0, 236.0, 0.0, 0.0, 1.0]
DISTORTIONS = {
    "plumb_bob": [-0.28, 0.07, 0.0002, 0.00002, 0.0],
    "rational_polynomial": [-0.2, 0.05, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0],
    "equidistant": [-0.02, 0.01, 0.0, 0.0],
}


def distorted_pixels(rays: np.ndarray, model: str) -> np.ndarray:
    matrix, coefficients = np.reshape(K, (3, 3)), np.array(DISTORTIONS[model])
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    if model == "equidistant":
        pixels, _ = project(rays[None], np.zeros(3), np.zeros(3), matrix, coefficients)
        return np.asarray(pixels)[0]
    pixels, _ = project(rays, np.zeros(3), np.zeros(3), matrix, coefficients)
    return np.asarray(pixels)[:, 0]


def blob_image(centres: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    blobs = [np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 2.0**2)) for x, y in centres]
    return (255 * np.clip(np.sum(blobs, axis=0), 0, 1)).astype(np.uint8)


def blob_centre(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    weights = image * (np.hypot(u - near[0], v - near[1]) < 12)
    return np.array([np.average(u, weights=weights), np.average(v, weights=weights)])


@pytest.mark.parametrize("model", list(DISTORTIONS))
def test_rectified_blobs_lie_where_the_pinhole_camera_sees_them(model):
    rays = np.array([[-0.5, -0.3, 1.0], [0.4, 0.3, 1.0], [0.0, 0.0, 1.0], [-0.4, 0.35, 1.0]])
    rectifier = Rectifier(K, DISTORTIONS[model], model, WIDTH, HEIGHT)
    rectified = rectifier.rectify(blob_image(distorted_pixels(rays, model)))
    for expected in rectifier.intrinsics.project(rays):
        np.testing.assert_allclose(blob_centre(rectified, expected), expected, atol=0.15)


def test_rectified_image_has_no_empty_border():
    rectifier = Rectifier(K, DISTORTIONS["plumb_bob"], "plumb_bob", WIDTH, HEIGHT)
    rectified = rectifier.rectify(np.full((HEIGHT, WIDTH, 3), 200, np.uint8))
    assert rectified.shape == (HEIGHT, WIDTH, 3)
    assert rectified.min() >= 190


@pytest.mark.parametrize("model", ["", "none", "plumb_bob"])
def test_camera_without_distortion_passes_images_on(model):
    rectifier = Rectifier(K, [0.0] * 5, model, WIDTH, HEIGHT)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert rectifier.rectify(image) is image
    np.testing.assert_allclose(rectifier.intrinsics.matrix.ravel(), K)


@pytest.mark.parametrize(
    ("distortion", "model", "message"),
    [
        ([float("nan"), 0, 0, 0], "plumb_bob", "not finite"),
        ([0.1, 0, 0], "plumb_bob", "3 coefficients"),
        ([0.1, 0, 0, 0], "kannala", "accepted are"),
    ],
)
def test_bad_distortion_is_refused_by_name(distortion, model, message):
    with pytest.raises(CalibrationError, match=message):
        Rectifier(K, distortion, model, WIDTH, HEIGHT)

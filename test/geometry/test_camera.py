"""Pinhole intrinsics, their half-pixel conventions, and the cameras that are refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.camera import Intrinsics

CAMERA = Intrinsics(fx=400.0, fy=420.0, cx=310.0, cy=250.0, width=640, height=480)


@given(st.floats(-0.5, 639.5), st.floats(-0.5, 479.5), st.floats(0.1, 100.0))
def test_projection_undoes_rays_at_any_depth(u, v, depth):
    pixel = np.array([u, v])
    np.testing.assert_allclose(CAMERA.project(depth * CAMERA.rays(pixel)), pixel, atol=1e-9)


def test_rays_are_the_inverse_camera_matrix_times_the_pixel():
    pixels = np.random.default_rng(0).uniform(0, 400, size=(7, 2))
    homogeneous = np.concatenate([pixels, np.ones((7, 1))], axis=1)
    np.testing.assert_allclose(CAMERA.rays(pixels), homogeneous @ np.linalg.inv(CAMERA.matrix).T)


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_resizing_keeps_the_rays_of_the_image_corners(width, height):
    corner = np.array([639.5, 479.5])
    resized_corner = np.array([width - 0.5, height - 0.5])
    np.testing.assert_allclose(CAMERA.resized(width, height).rays(resized_corner), CAMERA.rays(corner))


def test_resizing_agrees_with_opencv():
    image = np.zeros((480, 640), np.float32)
    image[200:208, 120:128] = 1.0
    small = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)
    centre = np.array(
        [np.average(np.arange(320), weights=small.sum(0)), np.average(np.arange(240), weights=small.sum(1))]
    )
    np.testing.assert_allclose(CAMERA.resized(320, 240).rays(centre), CAMERA.rays(np.array([123.5, 203.5])))


def test_cropping_moves_the_principal_point():
    cropped = CAMERA.cropped(left=100, top=40, width=200, height=150)
    np.testing.assert_allclose(cropped.rays(np.array([10.0, 20.0])), CAMERA.rays(np.array([110.0, 60.0])))
    assert (cropped.width, cropped.height) == (200, 150)


def test_camera_info_matrix_round_trips():
    assert Intrinsics.from_camera_info(CAMERA.matrix.ravel().tolist(), 640, 480) == CAMERA


@pytest.mark.parametrize(
    ("k", "message"),
    [
        ([0.0] * 9, "all zero"),
        ([400.0, 0, 310, 0, 420.0, 250], "6 values"),
        ([-400.0, 0, 310, 0, 420.0, 250, 0, 0, 1], "must be positive"),
        ([float("nan"), 0, 310, 0, 420.0, 250, 0, 0, 1], "not finite"),
        ([400.0, 3.0, 310, 0, 420.0, 250, 0, 0, 1], "skew"),
        ([400.0, 0, 3100, 0, 420.0, 250, 0, 0, 1], "far outside"),
    ],
)
def test_implausible_camera_matrices_are_refused_by_name(k, message):
    with pytest.raises(CalibrationError, match=message):
        Intrinsics.from_camera_info(k, 640, 480)


def test_empty_images_are_refused():
    with pytest.raises(CalibrationError, match="0x480"):
        Intrinsics.from_camera_info(CAMERA.matrix.ravel().tolist(), 0, 480)

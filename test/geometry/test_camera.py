"""Pinhole intrinsics, their half-pixel conventions, and the cameras that are refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.camera import Intrinsics, plausibility_warnings

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


def test_usual_cameras_are_plausible_without_a_warning():
    assert plausibility_warnings(CAMERA) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fx": 1.0, "fy": 1.0}, r"fx = 1 of .* means a field of view of 179.6 deg for 640 pixels; 5 to 179"),
        ({"fx": 0.8, "fy": 1.1, "cx": 0.5, "cy": 0.5}, "fx = 0.8 .* field of view"),  # normalised by the size
        ({"fx": 20000.0, "fy": 20000.0}, "field of view of 1.8 deg"),
        ({"fx": 312.0, "fy": 1.0}, "fy = 1 .* field of view"),
        ({"fx": 312.0, "fy": 100.0}, r"fx / fy = 312 / 100 = 3.12 .*; 0.5 to 2 is plausible"),
        ({"cx": -1.0}, "cx = -1 .* lies outside the 640x480 image; about 320 is expected"),
        ({"cy": 500.0}, "cy = 500 .* lies outside"),
        ({"cx": 0.0, "cy": 0.0}, "cx = 0 .* lies outside"),
    ],
)
def test_cameras_that_cannot_be_are_refused_with_value_and_expectation(changes, message):
    with pytest.raises(CalibrationError, match=message):
        plausibility_warnings(replace(CAMERA, **changes))


# 175: with K of half the resolution, of a camera whose principal point is 30 pixels off the middle.
@pytest.mark.parametrize("cx", [100.0, 175.0, 540.0])
def test_a_principal_point_far_from_the_middle_deserves_a_warning(cx):
    (warning,) = plausibility_warnings(replace(CAMERA, cx=cx))
    assert f"cx = {cx:g}" in warning
    assert "far from the middle" in warning


@pytest.mark.parametrize("aspect", [0.6, 1.9])
def test_pixels_far_from_square_deserve_a_warning(aspect):
    (warning,) = plausibility_warnings(replace(CAMERA, fx=aspect * CAMERA.fy))
    assert f"fx / fy = {aspect:g} of the camera matrix K, 1 is usual" in warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fx": -400.0}, "must be positive"),
        ({"fx": float("nan")}, "not finite"),
        ({"width": 0}, "0x480"),
    ],
)
def test_intrinsics_that_are_no_camera_are_refused(changes, message):
    with pytest.raises(CalibrationError, match=message):
        replace(CAMERA, **changes)

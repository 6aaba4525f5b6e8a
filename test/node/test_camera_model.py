"""camera_info becomes a rectifier once, and is refused where it cannot belong to the image."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.node.camera_model import CameraModel

K = np.array([300.0, 0, 160, 0, 310, 120, 0, 0, 1])
P = np.array([280.0, 0, 158, -28, 0, 280, 121, 0, 0, 0, 1, 0])


def camera_info(**overrides):
    fields = {
        "k": K,
        "d": [-0.2, 0.05, 0.0, 0.0, 0.0],
        "distortion_model": "plumb_bob",
        "p": P,
        "width": 320,
        "height": 240,
    }
    return SimpleNamespace(**{**fields, **overrides})


def test_rectifier_is_made_once_per_calibration():
    camera = CameraModel(image_is_rectified=False)
    first = camera.rectifier(camera_info(), 320, 240)
    assert camera.rectifier(camera_info(), 320, 240) is first
    assert camera.rectifier(camera_info(d=[0.0]), 320, 240) is not first


def test_raw_images_use_k_and_d():
    rectifier = CameraModel(image_is_rectified=False).rectifier(camera_info(d=[]), 320, 240)
    assert (rectifier.intrinsics.fx, rectifier.intrinsics.cy) == (300.0, 120.0)
    distorted = CameraModel(image_is_rectified=False).rectifier(camera_info(), 320, 240)
    image = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
    assert not np.array_equal(distorted.rectify(image), image)


def test_rectified_images_use_p_and_ignore_d():
    camera = CameraModel(image_is_rectified=True)
    rectifier = camera.rectifier(camera_info(d=[np.nan], distortion_model="odd"), 320, 240)
    assert (rectifier.intrinsics.fx, rectifier.intrinsics.cx, rectifier.intrinsics.cy) == (
        280.0,
        158.0,
        121.0,
    )
    image = np.zeros((240, 320), dtype=np.uint8)
    assert rectifier.rectify(image) is image


@pytest.mark.parametrize(
    ("is_rectified", "overrides", "words"),
    [
        (False, {"k": np.zeros(9), "width": 0, "height": 0}, "K is all zero"),
        (True, {"p": np.zeros(12)}, "P is all zero"),
        (False, {"width": 640, "height": 480}, "640x480 pixels, but the image has 320x240"),
        (False, {"d": [np.nan] * 5}, "not finite"),
        (False, {"distortion_model": "thin_prism"}, "thin_prism"),
    ],
)
def test_calibration_that_cannot_belong_to_the_image_is_refused(is_rectified, overrides, words):
    with pytest.raises(CalibrationError, match=words):
        CameraModel(is_rectified).rectifier(camera_info(**overrides), 320, 240)


def test_good_calibration_works_again_after_a_bad_one():
    camera = CameraModel(image_is_rectified=False)
    with pytest.raises(CalibrationError):
        camera.rectifier(camera_info(d=[np.nan] * 5), 320, 240)
    assert camera.rectifier(camera_info(), 320, 240).intrinsics.width == 320

"""Images become frames of a pinhole camera; a calibration that cannot belong to them is refused."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from iup_pose_ros.errors import CalibrationError, ImageError
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.stamps import epoch_seconds

K = np.array([300.0, 0, 160, 0, 310, 120, 0, 0, 1])
P = np.array([280.0, 0, 158, -28, 0, 280, 121, 0, 0, 0, 1, 0])
PIXELS = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=500_000_000), frame_id="camera_optical")


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


def raw_image(pixels=PIXELS):
    height, width = pixels.shape
    return SimpleNamespace(
        header=HEADER,
        height=height,
        width=width,
        encoding="mono8",
        is_bigendian=0,
        step=width,
        data=pixels.tobytes(),
    )


def compressed_image():
    return SimpleNamespace(header=HEADER, format="png", data=cv2.imencode(".png", PIXELS)[1].tobytes())


@pytest.mark.parametrize("compressed", [False, True])
def test_frame_has_pixels_stamp_and_camera_of_its_message(compressed):
    image = compressed_image() if compressed else raw_image()
    frame = FrameBuilder(epoch_seconds, compressed).build(image, camera_info(d=[]))
    np.testing.assert_array_equal(frame.image, PIXELS)
    assert (frame.stamp, frame.frame_id) == (3.5, "camera_optical")


def test_image_of_the_other_transport_is_refused():
    with pytest.raises(ImageError):
        FrameBuilder(epoch_seconds, compressed=True).build(
            SimpleNamespace(header=HEADER, format="mono8", data=PIXELS.tobytes()), camera_info()
        )


def test_stamp_of_a_refused_image_is_not_converted():
    stamps = []

    def to_seconds(stamp):
        stamps.append(stamp)
        return 0.0

    builder = FrameBuilder(to_seconds)
    with pytest.raises(CalibrationError):
        builder.build(raw_image(PIXELS[:100]), camera_info())
    assert stamps == []
    builder.build(raw_image(), camera_info())
    assert stamps == [HEADER.stamp]


def test_rectifier_is_made_once_per_calibration():
    builder = FrameBuilder(epoch_seconds)
    first = builder.rectifier(camera_info(), 320, 240)
    assert builder.rectifier(camera_info(), 320, 240) is first
    assert builder.rectifier(camera_info(d=[0.0]), 320, 240) is not first


def test_raw_images_use_k_and_d():
    builder = FrameBuilder(epoch_seconds)
    frame = builder.build(raw_image(), camera_info(d=[]))
    assert (frame.intrinsics.fx, frame.intrinsics.cy) == (300.0, 120.0)
    distorted = builder.build(raw_image(), camera_info())
    assert not np.array_equal(distorted.image, PIXELS)


def test_rectified_images_use_p_and_ignore_d():
    builder = FrameBuilder(epoch_seconds, image_is_rectified=True)
    frame = builder.build(raw_image(), camera_info(d=[np.nan], distortion_model="odd"))
    intrinsics = frame.intrinsics
    assert (intrinsics.fx, intrinsics.cx, intrinsics.cy) == (280.0, 158.0, 121.0)
    np.testing.assert_array_equal(frame.image, PIXELS)


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
    builder = FrameBuilder(epoch_seconds, image_is_rectified=is_rectified)
    with pytest.raises(CalibrationError, match=words):
        builder.build(raw_image(), camera_info(**overrides))


def test_good_calibration_works_again_after_a_bad_one():
    builder = FrameBuilder(epoch_seconds)
    with pytest.raises(CalibrationError):
        builder.build(raw_image(), camera_info(d=[np.nan] * 5))
    assert builder.build(raw_image(), camera_info()).intrinsics.width == 320

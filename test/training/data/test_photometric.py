from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iup_pose_ros.datasets.image_effects import add_noise, defocused, jpeg, motion_blurred, vignette
from iup_pose_ros.training.data.photometric import PhotometricConfig

NOTHING = PhotometricConfig(
    exposure=0.0,
    colour=0.0,
    gamma=0.0,
    saturation=(1.0, 1.0),
    grey=0.0,
    vignetting=0.0,
    noise=0.0,
    defocus=0.0,
    motion_blur=0.0,
    jpeg=0.0,
)


def picture(seed: int = 0) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(20, 235, (6, 8, 3))
    return np.kron(smooth, np.ones((8, 8, 1))).astype(np.uint8)


def impulse() -> np.ndarray:
    image = np.zeros((33, 33, 3), np.uint8)
    image[16, 16] = 255
    return image


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def test_without_effects_images_stay_as_they_are():
    images = np.stack([picture(0), picture(1)])
    np.testing.assert_array_equal(NOTHING.augment_cluster(images, np.random.default_rng(0)), images)


def test_effects_change_images_and_repeat_with_the_seed():
    images = np.stack([picture(), picture()])
    first, again, other = (
        PhotometricConfig().augment_cluster(images, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert first.shape == images.shape
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("radius", [0.0, 0.7, 2.5])
def test_defocus_spreads_light_evenly_around_its_place(radius):
    blurred = defocused(impulse(), radius)
    np.testing.assert_allclose(centroid(blurred), 16.0, atol=1e-6)
    assert (blurred[..., 0] > 0).sum() == (
        1 if radius == 0.0 else pytest.approx(np.pi * (radius + 0.5) ** 2, rel=0.4)
    )


@pytest.mark.parametrize("angle", [0.0, 0.5, np.pi / 2])
def test_motion_blur_spreads_light_along_a_line_without_moving_it(angle):
    blurred = motion_blurred(impulse(), 9.0, angle)[..., 0].astype(float)
    np.testing.assert_allclose(centroid(blurred[..., None]), 16.0, atol=0.1)
    y, x = np.mgrid[-16:17, -16:17]
    along = (blurred * (x * np.cos(angle) + y * np.sin(angle)) ** 2).sum() / blurred.sum()
    across = (blurred * (y * np.cos(angle) - x * np.sin(angle)) ** 2).sum() / blurred.sum()
    assert along == pytest.approx(9.0**2 / 12.0, rel=0.25)
    assert across < 0.3


def test_vignetting_darkens_the_corners_only():
    factors = vignette(21, 31, 0.4)[..., 0]
    assert factors[10, 15] == pytest.approx(1.0)
    assert factors[0, 0] == pytest.approx(0.6)


def test_noise_grows_with_light_and_has_no_bias():
    dark, bright = (np.full((200, 200, 3), level, np.float32) for level in (10.0, 250.0))
    for values in (dark, bright):
        add_noise(values, 8.0, False, np.random.default_rng(0))
    assert bright.std() == pytest.approx(8.0, rel=0.05)
    assert dark.std() == pytest.approx(8.0 * np.sqrt(0.1 + 0.9 * 10.0 / 255.0), rel=0.05)
    assert dark.mean() == pytest.approx(10.0, abs=0.1)


def test_low_jpeg_quality_loses_more_and_high_quality_next_to_nothing():
    y, x = np.mgrid[:64, :96]
    waves = 128.0 + 60.0 * np.sin(x / 7.0) + 50.0 * np.cos(y / 9.0)
    image = np.repeat(waves[..., None], 3, axis=2).round().astype(np.uint8)
    high, low = (np.abs(jpeg(image, quality).astype(int) - image).mean() for quality in (95, 20))
    assert high < 1.0
    assert 2.0 * high < low < 5.0


def test_jpeg_keeps_the_order_of_the_channels():
    image = np.full((16, 16, 3), (200, 40, 90), dtype=np.uint8)
    np.testing.assert_allclose(jpeg(image, 95).mean(axis=(0, 1)), [200, 40, 90], atol=3.0)


def test_grey_clusters_have_no_colour():
    grey = dataclasses.replace(PhotometricConfig(), grey=1.0, jpeg=0.0)
    images = grey.augment_cluster(np.stack([picture()]), np.random.default_rng(0))
    assert np.ptp(images, axis=-1).max() == 0

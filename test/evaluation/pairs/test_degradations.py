from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.evaluation.pairs.degradations import DEGRADATIONS, degraded
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Frame

WIDTH, HEIGHT = 160, 120


def texture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(60, 200, (HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def images_of(name: str, first: np.ndarray, second: np.ndarray, seed: int = 0, files=("a.png", "b.png")):
    """The two images after a degradation."""
    intrinsics = Intrinsics(100.0, 100.0, 79.5, 59.5, WIDTH, HEIGHT)
    frames = Frame(first, intrinsics, 0.0, "camera"), Frame(second, intrinsics, 1.0, "camera")
    first_file, second_file = (DataSetImage(Path("set") / file, np.eye(3)) for file in files)
    pair = DataSetPair((first_file, second_file), Pose(np.eye(3), np.array([1.0, 0.0, 0.0])), metric=False)
    return tuple(frame.image for frame in degraded(name, frames, pair, seed))


def sharpness(image: np.ndarray) -> float:
    return float(cv2.Laplacian(image, cv2.CV_64F).std())


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_images_depend_on_seed_and_file_names_alone(name):
    first, second = texture(1), texture(2)
    found = images_of(name, first, second)
    again = images_of(name, first, second)
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
    assert all(image.shape == first.shape and image.dtype == np.uint8 for image in found)
    if name not in ("none", "overexposed"):
        for other in (
            images_of(name, first, second, seed=1),
            images_of(name, first, second, files=("a.png", "c.png")),
        ):
            assert not all(np.array_equal(one, each) for one, each in zip(found, other, strict=True))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_given_images_stay_as_they_are_and_grey_ones_are_accepted(name):
    first, second = texture(1)[..., 0].copy(), texture(2)[..., 0].copy()
    kept = first.copy(), second.copy()
    found = images_of(name, first, second)
    assert np.array_equal(first, kept[0])
    assert np.array_equal(second, kept[1])
    assert [image.shape for image in found] == [(HEIGHT, WIDTH, 3)] * 2


def test_none_changes_nothing():
    first, second = texture(1), texture(2)
    found = images_of("none", first, second)
    assert np.array_equal(found[0], first)
    assert np.array_equal(found[1], second)


def test_blur_keeps_the_brightness_and_takes_the_detail():
    for image in images_of("blur", texture(1), texture(1)):
        assert image.mean() == pytest.approx(texture(1).mean(), abs=2.0)
        assert sharpness(image) < 0.8 * sharpness(texture(1))


def test_dark_images_have_a_tenth_of_the_light():
    for image in images_of("dark", flat(200), flat(200)):
        assert image.mean() == pytest.approx(20.0, abs=2.0)
        assert image.std() > 1.0


def test_only_the_second_image_is_overexposed():
    found = images_of("overexposed", texture(1), texture(1))
    assert np.array_equal(found[0], texture(1))
    assert np.array_equal(found[1], np.minimum(3 * texture(1).astype(int), 255))


def test_fog_takes_contrast_most_at_the_top():
    black, white = (images_of("fog", flat(level), flat(level))[0].mean(axis=(1, 2)) for level in (0, 255))
    assert white[0] - black[0] == pytest.approx(0.1 * 255, abs=3.0)
    assert white[-1] - black[-1] == pytest.approx(0.5 * 255, abs=3.0)


def test_noise_is_that_of_its_level():
    image = images_of("noise_jpeg", flat(128), flat(128))[0].astype(float)
    assert image.mean() == pytest.approx(128.0, abs=3.0)
    assert 3.0 < image.std() < 30.0


def test_rolling_noise_changes_whole_rows():
    image = images_of("rolling_noise", flat(128), flat(128))[0].astype(float)
    assert image.std(axis=(1, 2)).max() == 0.0
    assert image.mean(axis=(1, 2)).std() == pytest.approx(math.hypot(30.0 / math.sqrt(2.0), 15.0), rel=0.25)


def test_a_rolling_shutter_shifts_rows_in_proportion_to_their_height():
    line = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    line[:, 80] = 255
    columns = (images_of("rolling_shutter", line, line)[0][..., 0].astype(float) @ np.arange(WIDTH)) / 255.0
    shift = columns - 80.0
    assert shift[HEIGHT // 2] == pytest.approx(0.0, abs=0.1)
    assert shift[0] == pytest.approx(-shift[-1], abs=0.2)
    assert 0.0 < abs(shift[-1] - shift[0]) <= 0.04 * WIDTH + 0.2


def test_drops_are_at_the_same_places_of_both_images():
    first, second = (
        np.any(found != given, axis=2)
        for found, given in zip(
            images_of("rain", texture(1), texture(2)), (texture(1), texture(2)), strict=True
        )
    )
    assert 0.05 < first.mean() < 0.6
    assert (first & second).sum() > 0.9 * (first | second).sum()


def test_the_object_covers_36_percent_and_moves():
    found = images_of("moving_object", texture(1), texture(2))
    carried = np.ascontiguousarray(texture(1)[24:96, 32:128][:, ::-1])
    places = []
    for image in found:
        difference = cv2.matchTemplate(image, carried, cv2.TM_SQDIFF)
        assert difference.min() == 0.0
        places.append(np.unravel_index(difference.argmin(), difference.shape))
    (y0, x0), (y1, x1) = places
    assert math.hypot((x1 - x0) / WIDTH, (y1 - y0) / HEIGHT) == pytest.approx(0.12, abs=0.01)


def test_half_of_the_second_image_is_occluded():
    first, second = images_of("occlusion", texture(1), texture(1))
    assert np.array_equal(first, texture(1))
    changed = np.any(second != texture(1), axis=2)
    left, right = changed[:, : WIDTH // 2], changed[:, WIDTH // 2 :]
    assert sorted([left.any(), right.any()]) == [False, True]
    assert max(left.mean(), right.mean()) > 0.95

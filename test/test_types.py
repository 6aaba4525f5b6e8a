"""Copies of images are told from new ones, which differ by noise alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame

WIDTH, HEIGHT = 320, 240
Grey = NDArray[np.uint8]


def scene() -> Grey:
    noise = np.random.default_rng(4).uniform(0, 255, (HEIGHT, WIDTH))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(255.0 * (smooth - smooth.min()) / np.ptp(smooth), dtype=np.uint8)


def of(image: Grey) -> Frame:
    height, width = image.shape[:2]
    return Frame(image, Intrinsics(250.0, 250.0, width / 2, height / 2, width, height), 0.0, "camera")


def with_clock(image: Grey, text: str) -> Grey:
    return np.asarray(cv2.putText(image.copy(), text, (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2))


def as_jpeg(image: Grey, quality: int) -> Grey:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def noisy(image: Grey, seed: int) -> Grey:
    noise = np.random.default_rng(seed).normal(0.0, 0.5, image.shape)
    return np.asarray(np.clip(np.rint(image + noise), 0, 255), dtype=np.uint8)


@pytest.mark.parametrize("quality", [95, 80, 50])
def test_a_copy_with_the_time_written_into_it_is_a_copy(quality: int) -> None:
    first, later = (
        of(as_jpeg(with_clock(scene(), text), quality)) for text in ("12:00:01.067", "12:00:02.733")
    )
    assert later.repeats(first)


@pytest.mark.parametrize("quality", [80, 50, 30])
def test_a_new_image_of_a_camera_at_rest_is_no_copy(quality: int) -> None:
    first, later = (of(as_jpeg(noisy(scene(), seed), quality)) for seed in (1, 2))
    assert not later.repeats(first)


def test_uniform_parts_of_a_simulated_scene_are_no_evidence_of_a_copy() -> None:
    """One box before a uniform sky, without noise: it moves by three pixels."""
    first, later = np.full((HEIGHT, WIDTH), 180, np.uint8), np.full((HEIGHT, WIDTH), 180, np.uint8)
    first[100:140, 150:190] = scene()[:40, :40]
    later[100:140, 153:193] = scene()[:40, :40]
    assert not of(later).repeats(of(first))
    assert of(first.copy()).repeats(of(first))


def test_images_without_texture_are_copies_only_if_they_are_equal() -> None:
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    spotted = black.copy()
    spotted[7, 9] = 3
    assert of(black.copy()).repeats(of(black))
    assert not of(spotted).repeats(of(black))
    assert not of(black[:200]).repeats(of(black))


def test_colour_images_are_compared_too() -> None:
    first, later = (np.dstack([scene(), scene(), scene()]) for _ in range(2))
    assert of(later).repeats(of(first))
    later[..., 1] = noisy(later[..., 1], 3)
    assert not of(later).repeats(of(first))

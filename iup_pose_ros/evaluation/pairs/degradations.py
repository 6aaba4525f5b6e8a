"""Degradations of image pairs: what hard light, weather, sensors and moving objects do to two images.

Sizes, intrinsics and true pose stay as they are. Lengths are relative to the image width.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.image_effects import Rng, add_noise, defocused, jpeg, motion_blurred
from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.types import Frame, Picture

Pictures = tuple[Picture, Picture]
Floats = NDArray[np.floating]

_BLUR_LENGTH = 0.03
_DARKNESS = 0.1  # gain
_OVEREXPOSURE = 3.0  # gain
_FOG_LEVEL = 205.0  # grey level
_NOISE = 30.0  # standard deviation at full brightness, grey levels
_JPEG_QUALITY = 15
_ROW_NOISE = 15.0  # standard deviation of the level of a row, grey levels
_ROLL = 0.04  # shift of the last row against the first one
_DROPS = 60
_OBJECT_SIDE = 0.6  # of height and width: 36 % of the view
_OBJECT_SHIFT = 0.12


def degraded(name: str, frames: tuple[Frame, Frame], pair: DataSetPair, seed: int) -> tuple[Frame, Frame]:
    """Apply the degradation of a name in ``DEGRADATIONS`` to the images of a pair.

    The random numbers depend on seed, name and file names alone, so that every run gives the same images.
    """
    key = " ".join([name, *("/".join(image.path.parts[-2:]) for image in pair.images)])
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    colour = [
        frame.image if frame.image.ndim == 3 else cv2.cvtColor(frame.image, cv2.COLOR_GRAY2RGB)
        for frame in frames
    ]
    first, second = DEGRADATIONS[name]((np.asarray(colour[0]), np.asarray(colour[1])), rng)
    return replace(frames[0], image=first), replace(frames[1], image=second)


def unchanged(images: Pictures, rng: Rng) -> Pictures:
    """Return the images as they are, to compare with."""
    return images


def blur(images: Pictures, rng: Rng) -> Pictures:
    """Blur each image along a line of 3 % of its width, in a direction of its own."""
    return _each(
        images, lambda image: motion_blurred(image, _BLUR_LENGTH * image.shape[1], rng.uniform(0, math.pi))
    )


def dark(images: Pictures, rng: Rng) -> Pictures:
    """Expose both images to a tenth of the light, with the noise of a sensor."""
    return _each(images, lambda image: _noisy(_DARKNESS * image.astype(np.float32), 5.0, rng))


def overexposed(images: Pictures, rng: Rng) -> Pictures:
    """Expose the second image to three times the light, so that it saturates."""
    return images[0], _clipped(_OVEREXPOSURE * images[1].astype(np.float32))


def fog(images: Pictures, rng: Rng) -> Pictures:
    """Blend both images with grey: half of it at the bottom, 90 % at the top, where the scene is farther."""

    def foggy(image: Picture) -> Picture:
        share = np.linspace(0.9, 0.5, image.shape[0], dtype=np.float32)[:, None, None]
        return _noisy((1.0 - share) * image + share * _FOG_LEVEL, 2.0, rng)

    return _each(images, foggy)


def noise_jpeg(images: Pictures, rng: Rng) -> Pictures:
    """Add noise as of a high gain and compress both images with a JPEG quality of 15."""
    return _each(images, lambda image: jpeg(_noisy(image.astype(np.float32), _NOISE, rng), _JPEG_QUALITY))


def rolling_noise(images: Pictures, rng: Rng) -> Pictures:
    """Change the level of rows at random, and in bands as flickering light does with a rolling shutter."""

    def banded(image: Picture) -> Picture:
        height = image.shape[0]
        bands = 30.0 * np.sin(8.0 * math.pi * np.arange(height) / height + rng.uniform(0, 2 * math.pi))
        rows = bands + _ROW_NOISE * rng.standard_normal(height)
        return _clipped(image.astype(np.float32) + rows[:, None, None].astype(np.float32))

    return _each(images, banded)


def rolling_shutter(images: Pictures, rng: Rng) -> Pictures:
    """Shift rows sideways, as a camera does that turns while it reads them; the row in the middle stays."""

    def sheared(image: Picture) -> Picture:
        height, width = image.shape[:2]
        shear = rng.uniform(-1.0, 1.0) * _ROLL * width / height
        transform = np.array([[1.0, shear, -0.5 * shear * height], [0.0, 1.0, 0.0]])
        return np.asarray(
            cv2.warpAffine(image, transform, (width, height), borderMode=cv2.BORDER_REFLECT_101),
            dtype=np.uint8,
        )

    return _each(images, sheared)


def rain(images: Pictures, rng: Rng) -> Pictures:
    """Put drops on the lens, at the same places of both images, in which the view is turned and blurred."""
    drops = np.column_stack([rng.random((_DROPS, 2)), rng.uniform(0.01, 0.05, _DROPS)])

    def seen_through(image: Picture) -> Picture:
        height, width = image.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        for x, y, radius in drops:
            cv2.circle(mask, (round(x * width), round(y * height)), round(radius * width), 255, cv2.FILLED)
        refracted = defocused(np.ascontiguousarray(image[::-1, ::-1]), 0.01 * width)
        return np.where(mask[..., None] > 0, refracted, image)

    return _each(images, seen_through)


def moving_object(images: Pictures, rng: Rng) -> Pictures:
    """Cover 36 % of both views with a flat object that moves by 12 % of the width between them.

    Its texture is the mirrored middle of the first image, so that it has as many features as the scene.
    """
    height, width = images[0].shape[:2]
    margin = 0.5 * (1.0 - _OBJECT_SIDE)
    top, left = round(margin * height), round(margin * width)
    texture = np.ascontiguousarray(images[0][top : height - top, left : width - left][:, ::-1])
    angle = rng.uniform(0, 2 * math.pi)
    half_shift = 0.5 * _OBJECT_SHIFT * np.array([math.cos(angle), math.sin(angle)])
    corner = margin + (margin - _OBJECT_SHIFT) * rng.uniform(-1.0, 1.0, 2)
    return _covered(images[0], texture, corner - half_shift), _covered(
        images[1], texture, corner + half_shift
    )


def occlusion(images: Pictures, rng: Rng) -> Pictures:
    """Cover the left or right half of the second image with a plain surface, as of a wall close by."""
    image = images[1].copy()
    half = image.shape[1] // 2
    begin = int(rng.integers(2)) * half
    image[:, begin : begin + half] = rng.integers(40, 200, 3)
    return images[0], image


DEGRADATIONS: dict[str, Callable[[Pictures, Rng], Pictures]] = {
    "none": unchanged,
    "blur": blur,
    "dark": dark,
    "overexposed": overexposed,
    "fog": fog,
    "noise_jpeg": noise_jpeg,
    "rolling_noise": rolling_noise,
    "rolling_shutter": rolling_shutter,
    "rain": rain,
    "moving_object": moving_object,
    "occlusion": occlusion,
}


def _each(images: Pictures, change: Callable[[Picture], Picture]) -> Pictures:
    return change(images[0]), change(images[1])


def _clipped(values: Floats) -> Picture:
    return np.clip(values + 0.5, 0.0, 255.0).astype(np.uint8)


def _noisy(values: Floats, level: float, rng: Rng) -> Picture:
    noisy = values.astype(np.float32)
    add_noise(noisy, level, False, rng)
    return _clipped(noisy)


def _covered(image: Picture, texture: Picture, corner: Floats) -> Picture:
    """Draw the object with its top-left corner at (x, y), relative to width and height."""
    covered = image.copy()
    height, width = image.shape[:2]
    size = (round(_OBJECT_SIDE * width), round(_OBJECT_SIDE * height))
    left, top = round(corner[0] * width), round(corner[1] * height)
    drawn = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
    covered[top : top + size[1], left : left + size[0]] = drawn
    return covered

"""Materials of the demo room, made from the photographs in the scikit-image wheel (no download)."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError
from iup_pose_ros.types import Picture

_PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cat",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)


@dataclass(frozen=True, eq=False)
class Material:
    """A repeatable surface pattern.

    Attributes:
        picture: uint8 (H, W, 3) RGB.
        size: width and height of the picture in metres.
    """

    picture: Picture
    size: tuple[float, float]


@functools.cache
def photographs() -> Mapping[str, Picture]:
    """Load RGB photographs by name.

    Raises:
        DataError: scikit-image or its photographs are not installed.
    """
    try:
        data = importlib.import_module("skimage.data")
        pictures = {name: _rgb(getattr(data, name)()) for name in _PHOTOGRAPHS}
        pictures["motorcycle"] = _rgb(data.stereo_motorcycle()[0])
    except (ImportError, OSError, ValueError) as error:
        raise DataError(
            f"the photographs of scikit-image cannot be loaded ({error}); "
            "`pip install scikit-image` installs them with the library"
        ) from error
    return MappingProxyType(pictures)


def _rgb(image: NDArray[np.uint8]) -> Picture:
    return np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3])


def tinted(picture: Picture, dark: tuple[int, int, int], bright: tuple[int, int, int]) -> Picture:
    """Map the grey levels of a picture to a ramp between two colours."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.percentile(grey, (1.0, 99.0))
    level = np.clip((grey - low) / (high - low), 0.0, 1.0)[..., None]
    ramp = np.array(dark) + level * (np.array(bright) - np.array(dark))
    return ramp.astype(np.uint8)


def flattened(picture: Picture, radius: float) -> Picture:
    """Remove brightness variations wider than ``radius`` pixels, so that tiles have no visible seam."""
    values = picture.astype(np.float32)
    lowpass = cv2.GaussianBlur(values, (0, 0), radius, borderType=cv2.BORDER_REFLECT)
    return np.clip(values - lowpass + values.mean(axis=(0, 1)), 0, 255).astype(np.uint8)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Resize a picture, with area filtering if it becomes smaller."""
    interpolation = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), dtype=np.uint8)


@functools.cache
def bricks() -> Material:
    """Return a red brick wall: the photograph of a pavement, rectified and rotated by 90 degrees."""
    source = photographs()["brick"]
    # These four points of the photograph, taken at an angle, are the corners of a rectangle on the ground.
    corners = np.array([[60, 0], [425, 0], [511, 511], [0, 511]], dtype=np.float32)
    target = np.array([[0, 0], [511, 0], [511, 639], [0, 639]], dtype=np.float32)
    upright = cv2.warpPerspective(source, cv2.getPerspectiveTransform(corners, target), (512, 640))
    lying = flattened(np.asarray(np.rot90(upright), dtype=np.uint8), 60.0)
    return Material(tinted(lying, (112, 58, 44), (206, 178, 158)), (1.35, 1.0))


@functools.cache
def plaster(dark: tuple[int, int, int], bright: tuple[int, int, int]) -> Material:
    """Return rough plaster: the photograph of gravel with low contrast."""
    return Material(tinted(flattened(photographs()["gravel"], 40.0), dark, bright), (0.9, 0.9))


@functools.cache
def lawn() -> Material:
    """Return grass: the grey photograph, coloured green."""
    return Material(tinted(photographs()["grass"], (16, 36, 12), (150, 186, 96)), (0.5, 0.5))


@functools.cache
def wood() -> Material:
    """Return wood with horizontal grain: a part of the table in the photograph of coffee."""
    centre, width, height = (535.0, 168.0), 100, 150
    turn = cv2.getRotationMatrix2D(centre, -37.0, 1.0)
    turn[:, 2] += np.array([width / 2 - centre[0], height / 2 - centre[1]])
    grain = cv2.warpAffine(photographs()["coffee"], turn, (width, height))[:112]  # up to the image border
    even = flattened(np.asarray(grain, dtype=np.uint8), 30.0)
    return Material((even * np.array([0.82, 0.84, 0.88])).astype(np.uint8), (0.6, 0.4))


def planks(size: tuple[float, float], rng: np.random.Generator) -> Material:
    """Return a floor of ``size`` (width, height) metres: planks of 0.9 x 0.12 m with random joints."""
    scale, plank, board = 200, (180, 24), wood().picture
    columns, rows = round(size[0] * scale), round(size[1] * scale)
    floor = np.zeros((rows + plank[1], columns + 2 * plank[0], 3), dtype=np.uint8)
    for top in range(0, rows, plank[1]):
        for left in range(int(rng.integers(plank[0])), columns + plank[0], plank[0]):
            # A random strip of the board with random brightness and dark edges.
            first = int(rng.integers(0, board.shape[0] - 20))
            flips = rng.integers(0, 2, 2) * 2 - 1
            strip = resized(board[first : first + 20][:: flips[0], :: flips[1]], *plank)
            shade = np.full(plank[::-1], rng.uniform(0.75, 1.15), dtype=np.float32)
            shade[[0, -1]] *= 0.45
            shade[:, [0, -1]] *= 0.45
            cut = np.clip(strip * shade[..., None], 0, 255).astype(np.uint8)
            floor[top : top + plank[1], left : left + plank[0]] = cut
    return Material(floor[:rows, plank[0] : plank[0] + columns], size)

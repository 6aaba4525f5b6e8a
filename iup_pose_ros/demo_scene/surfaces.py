"""Rectangles with pictures, and boxes made of them. World frame: z up, metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from iup_pose_ros.demo_scene.materials import Material, resized
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Picture

TEXELS_PER_METRE = 210
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Surface:
    """A rectangle with a picture; seen from its front, half_u points to the right and half_v downwards.

    Attributes:
        centre, half_u, half_v: (3,) metres.
        picture: uint8 (H, W, 3) RGB that covers the rectangle.
        glows: whether the surface is emissive: independent of lighting and without shadow.
    """

    centre: Array
    half_u: Array
    half_v: Array
    picture: Picture
    glows: bool = False

    @property
    def normal(self) -> Array:
        """Return the unit normal (3,) of the front."""
        outwards = np.cross(self.half_v, self.half_u)
        return outwards / np.linalg.norm(outwards)

    @property
    def corners(self) -> Array:
        """Return the corners (4, 3), metres."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return self.centre + signs[:, :1] * self.half_u + signs[:, 1:] * self.half_v

    @property
    def size(self) -> tuple[float, float]:
        """Return width and height in metres."""
        return 2.0 * float(np.linalg.norm(self.half_u)), 2.0 * float(np.linalg.norm(self.half_v))


def covering(material: Material, size: tuple[float, float]) -> Picture:
    """Tile width x height metres with a material; every second tile is mirrored, which avoids seams."""
    picture = _limit_resolution(material.picture, material.size)
    axes = []
    for extent, tile, pixels in zip(size, material.size, picture.shape[1::-1], strict=True):
        count = max(2, round(extent * TEXELS_PER_METRE))
        position = (np.arange(count) + 0.5) / count * extent / tile
        mirrored = 1.0 - np.abs(1.0 - np.mod(position, 2.0))
        axes.append((mirrored * pixels - 0.5).astype(np.float32))
    columns, rows = np.meshgrid(axes[0], axes[1])
    return np.asarray(cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def panel(
    centre: ArrayLike,
    normal: ArrayLike,
    size: tuple[float, float],
    cover: Material | Picture,
    up: ArrayLike = _UP,
) -> Surface:
    """Create a rectangle of width x height metres.

    Args:
        centre: (3,) metres.
        normal: (3,) unit normal of the front.
        size: width and height, metres.
        cover: material or picture on the front.
        up: (3,) direction of the upper edge.
    """
    front, above = (np.asarray(vector, dtype=np.float64) for vector in (normal, up))
    right = np.cross(above, front)
    right /= np.linalg.norm(right)
    down = np.cross(right, front)
    picture = covering(cover, size) if isinstance(cover, Material) else _limit_resolution(cover, size)
    centre = np.asarray(centre, dtype=np.float64)
    return Surface(centre, 0.5 * size[0] * right, 0.5 * size[1] * down / np.linalg.norm(down), picture)


def box(
    centre: ArrayLike,
    size: tuple[float, float, float],
    cover: Material | Sequence[Material | Picture],
    yaw: float = 0.0,
    bottom: bool = False,
) -> list[Surface]:
    """Create a box.

    Args:
        centre: (3,) metres.
        size: length (along x if ``yaw`` is zero), depth and height, metres.
        cover: material of all faces, or one cover each for front (-y), right (+x), back, left and top.
        yaw: rotation about the vertical axis, degrees.
        bottom: whether the box has a lower face.
    """
    middle = np.asarray(centre, dtype=np.float64)
    covers = [cover] * 5 if isinstance(cover, Material) else list(cover)
    length, depth, height = size
    turn = so3.exp(np.array([0.0, 0.0, math.radians(yaw)]))
    x, y, z = turn.T
    faces = [
        panel(middle - 0.5 * depth * y, -y, (length, height), covers[0]),
        panel(middle + 0.5 * length * x, x, (depth, height), covers[1]),
        panel(middle + 0.5 * depth * y, y, (length, height), covers[2]),
        panel(middle - 0.5 * length * x, -x, (depth, height), covers[3]),
        panel(middle + 0.5 * height * z, z, (length, depth), covers[4], up=y),
    ]
    if bottom:
        faces.append(panel(middle - 0.5 * height * z, -z, (length, depth), covers[4], up=y))
    return faces


def framed(picture: Picture, width: float, frame: tuple[int, int, int], mat: float = 0.05) -> Picture:
    """Add a mat of ``mat`` metres and a frame of 2 cm; ``width``, metres, includes the frame."""
    inner = round((width - 2.0 * (mat + 0.02)) * TEXELS_PER_METRE)
    border, edge = (max(1, round(metres * TEXELS_PER_METRE)) for metres in (mat, 0.02))
    image = resized(picture, inner, round(inner * picture.shape[0] / picture.shape[1]))
    for thickness, colour in ((border, (238, 236, 230)), (edge, frame)):
        sides = (thickness,) * 4
        image = np.asarray(cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=colour))
    return image


def hung(picture: Picture, centre: ArrayLike, normal: ArrayLike, width: float) -> list[Surface]:
    """Create a framed picture, ``width`` metres wide, on a box of 3 cm depth in front of a wall."""
    height = width * picture.shape[0] / picture.shape[1]
    front = np.asarray(normal, dtype=np.float64)
    yaw = math.degrees(math.atan2(front[0], -front[1]))
    side = Material(np.full((4, 4, 3), 40, dtype=np.uint8), (1.0, 1.0))
    middle = np.asarray(centre, dtype=np.float64) + 0.015 * front
    return box(middle, (width, 0.03, height), [picture, side, side, side, side], yaw, bottom=True)


def plain(colour: tuple[int, int, int]) -> Material:
    """Create a material of one colour."""
    return Material(np.full((2, 2, 3), colour, dtype=np.uint8), (1.0, 1.0))


def _limit_resolution(picture: Picture, size: tuple[float, float]) -> Picture:
    """Downscale a picture of ``size`` metres to at most ``TEXELS_PER_METRE``."""
    width, height = (max(2, round(extent * TEXELS_PER_METRE)) for extent in size)
    if picture.shape[1] <= width and picture.shape[0] <= height:
        return picture
    return resized(picture, min(width, picture.shape[1]), min(height, picture.shape[0]))

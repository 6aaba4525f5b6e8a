"""Lighting baked into textures: rectangular lamps with soft shadows, and ambient occlusion.

Sources: Kajiya, "The rendering equation", SIGGRAPH 1986 (direct light of diffuse surfaces); Zhukov, Iones and
Kronin, "An ambient light illumination model", 1998 (ambient occlusion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iup_pose_ros.demo_scene.surfaces import Surface
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Picture

_CELL = 0.09  # distance between the points where light is computed, metres
_GAP = 0.004  # distance of these points from the surface, metres
_AMBIENT_RAYS = 36
_AMBIENT_REACH = 0.9  # maximum distance of ambient occluders, metres
_LAMP_SAMPLES = 9
_RAYS_PER_CHUNK = 4096
_GAMMA = 2.2


@dataclass(frozen=True, eq=False)
class Lamp:
    """A rectangular lamp that emits light downwards.

    Attributes:
        centre: (3,) metres.
        size: along x and y, metres.
        power: RGB intensity 1 m below the lamp; 1 shows a surface with the brightness of its picture.
    """

    centre: tuple[float, float, float]
    size: tuple[float, float]
    power: tuple[float, float, float]


def lit(
    surfaces: Sequence[Surface], lamps: Sequence[Lamp], ambient: tuple[float, float, float]
) -> list[Picture]:
    """Compute the picture of each surface under lamps and uniform ambient light.

    Args:
        surfaces: surfaces, which also cast shadows unless they emit light.
        lamps: direct light.
        ambient: RGB intensity of the ambient light.

    Returns:
        One picture (H, W, 3) per surface; that of emissive surfaces is unchanged.
    """
    occluders = _Occluders.of([surface for surface in surfaces if not surface.glows])
    pictures = []
    for surface in surfaces:
        picture = surface.picture
        if not surface.glows:
            light = incident_light(surface, occluders, lamps, ambient)
            size = (max(picture.shape[1], light.shape[1]), max(picture.shape[0], light.shape[0]))
            values = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
            # Light is linear, pictures are gamma-encoded.
            factor = cv2.resize(light, size, interpolation=cv2.INTER_LINEAR).clip(0.0) ** (1.0 / _GAMMA)
            picture = np.asarray(np.clip(values * factor, 0, 255), dtype=np.uint8)
        pictures.append(picture)
    return pictures


@dataclass(frozen=True, eq=False)
class _Occluders:
    """P rectangles as linear functions of a point x: row (a, b, c, d) is the function (a, b, c) . x - d.

    Attributes:
        normal: (P, 4) float32; zero on the plane of the rectangle.
        along_u, along_v: (P, 4) float32; -1 to 1 within the rectangle.
        corners: (P, 4, 3) metres.
    """

    normal: Tensor
    along_u: Tensor
    along_v: Tensor
    corners: Array

    @classmethod
    def of(cls, surfaces: Sequence[Surface]) -> _Occluders:
        """Convert surfaces."""
        normal, along_u, along_v = (
            torch.tensor(
                np.array([[*axis(surface), axis(surface) @ surface.centre] for surface in surfaces]),
                dtype=torch.float32,
            )
            for axis in (
                lambda surface: surface.normal,
                lambda surface: surface.half_u / (surface.half_u @ surface.half_u),
                lambda surface: surface.half_v / (surface.half_v @ surface.half_v),
            )
        )
        return cls(normal, along_u, along_v, np.stack([surface.corners for surface in surfaces]))

    def between(self, surface: Surface, low: Array, high: Array) -> _Occluders:
        """Select rectangles in front of a surface that intersect the box from low (3,) to high (3,)."""
        inside = (self.corners.max(axis=1) >= low) & (self.corners.min(axis=1) <= high)
        in_front = ((self.corners - surface.centre) @ surface.normal).max(axis=1) > 1e-6
        chosen = torch.from_numpy(np.flatnonzero(inside.all(axis=1) & in_front))
        return _Occluders(
            self.normal[chosen], self.along_u[chosen], self.along_v[chosen], self.corners[chosen]
        )

    def block(self, origin: Tensor, ray: Tensor) -> Tensor:
        """Return whether (N,) the segments from origin (N, 3) to origin + ray (N, 3) are blocked."""
        blocked = []
        for start, step in zip(origin.split(_RAYS_PER_CHUNK), ray.split(_RAYS_PER_CHUNK), strict=True):
            fraction = _evaluate(self.normal, start).neg() / (step @ self.normal[:, :3].T)
            hit = (fraction > 0.0) & (fraction < 1.0)
            for axis in (self.along_u, self.along_v):
                hit &= (_evaluate(axis, start) + fraction * (step @ axis[:, :3].T)).abs() <= 1.0
            blocked.append(hit.any(dim=1))
        return torch.cat(blocked)


def _evaluate(rows: Tensor, points: Tensor) -> Tensor:
    return points @ rows[:, :3].T - rows[:, 3]


def incident_light(
    surface: Surface, occluders: _Occluders, lamps: Sequence[Lamp], ambient: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Compute the incident RGB light (h, w, 3) on a coarse grid over a surface."""
    columns, rows = (max(2, min(160, math.ceil(extent / _CELL))) for extent in surface.size)
    u, v = np.meshgrid(_cell_centres(columns), _cell_centres(rows))
    points = surface.centre + u[..., None] * surface.half_u + v[..., None] * surface.half_v
    points = (points + _GAP * surface.normal).reshape(-1, 3)
    low, high = points.min(axis=0), points.max(axis=0)
    near = occluders.between(surface, low - _AMBIENT_REACH, high + _AMBIENT_REACH)
    light = ambient_visibility(points, surface.normal, near)[:, None] * np.array(ambient)
    for lamp in lamps:
        reach = 0.5 * np.array([*lamp.size, 0.0])
        centre = np.array(lamp.centre)
        between = occluders.between(
            surface, np.minimum(low, centre - reach), np.maximum(high, centre + reach)
        )
        light += direct_light(points, surface.normal, between, lamp)[:, None] * np.array(lamp.power)
    grid = light.reshape(rows, columns, 3).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grid, (3, 3), 0.7, borderType=cv2.BORDER_REPLICATE))


def _cell_centres(count: int) -> Array:
    """Return the centres (count,) of equal cells that divide the interval from -1 to 1."""
    return (2.0 * np.arange(count) + 1.0) / count - 1.0


def ambient_visibility(points: Array, normal: Array, occluders: _Occluders) -> Array:
    """Return the unoccluded fraction (N,) of cosine-weighted directions at points (N, 3)."""
    index = np.arange(_AMBIENT_RAYS) + 0.5
    radius, turn = np.sqrt(index / _AMBIENT_RAYS), index * math.pi * (1.0 + math.sqrt(5.0))
    right = np.cross(normal, [1.0, 0.0, 0.0] if abs(normal[0]) < 0.9 else [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(normal, right), normal])
    directions = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1.0 - radius**2)], axis=1)
    rays = _AMBIENT_REACH * directions @ axes
    blocked = _blocked(points, rays[None].repeat(len(points), axis=0), occluders)
    return np.asarray(1.0 - blocked.mean(axis=1))


def direct_light(points: Array, normal: Array, occluders: _Occluders, lamp: Lamp) -> Array:
    """Return the light (N,) at points (N, 3) from a lamp of power 1, with soft shadows."""
    side = round(math.sqrt(_LAMP_SAMPLES))
    x, y = np.meshgrid(_cell_centres(side), _cell_centres(side))
    spots = np.stack([x.ravel() * lamp.size[0] / 2, y.ravel() * lamp.size[1] / 2, 0.0 * x.ravel()], axis=1)
    rays = np.array(lamp.centre) + spots - points[:, None]
    distance = np.linalg.norm(rays, axis=2)
    received = np.clip(rays @ normal, 0.0, None) * np.clip(rays[..., 2], 0.0, None) / distance**4
    lighted = received.max(axis=1) > 0.0
    visible = np.zeros_like(received)
    visible[lighted] = ~_blocked(points[lighted], rays[lighted], occluders)
    return np.asarray((received * visible).mean(axis=1))


def _blocked(points: Array, rays: Array, occluders: _Occluders) -> NDArray[np.bool_]:
    """Return whether (N, S) rays (N, S, 3) from points (N, 3) are blocked."""
    ends = torch.tensor(rays.reshape(-1, 3), dtype=torch.float32)
    origins = torch.tensor(points, dtype=torch.float32).repeat_interleave(rays.shape[1], dim=0)
    return np.asarray(occluders.block(origins, ends).numpy().reshape(rays.shape[:2]))

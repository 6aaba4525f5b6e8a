"""Skies as cube maps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.types import Picture

FACE = 128  # pixels along the side of a face
_OCTAVES = 5


def cloudy_sky(rng: np.random.Generator) -> Picture:
    """Create a cube map (6, S, S, 3) of a sky, z up: brighter at the horizon, with clouds on a plane."""
    directions = cube_directions(FACE)
    elevation = np.clip(directions[..., 2], 0.0, 1.0)[..., None]
    horizon = np.array([0.75, 0.8, 0.85]) * rng.uniform(0.6, 1.2)
    zenith = np.array([0.25, 0.45, 0.8]) * rng.uniform(0.4, 1.1) + rng.uniform(-0.05, 0.25, 3)
    colour = horizon + (zenith - horizon) * elevation ** rng.uniform(0.3, 1.0)
    overhead = directions[..., :2] / (np.abs(directions[..., 2:]) + 0.15) * rng.uniform(8.0, 30.0)
    noise = fractal(rng, 256)
    columns = (overhead + rng.uniform(0.0, 256.0, 2)).reshape(6, -1, 2).astype(np.float32) % noise.shape[0]
    wrapped = np.pad(noise, ((0, 1), (0, 1)), mode="wrap")
    clouds = np.asarray(
        cv2.remap(wrapped, columns[..., 0], columns[..., 1], cv2.INTER_LINEAR), dtype=np.float32
    ).reshape(directions.shape[:-1])
    cover = np.clip((clouds - rng.uniform(0.3, 0.8)) * rng.uniform(1.5, 4.0), 0.0, 1.0)[..., None]
    brightness = rng.uniform(0.7, 1.1) * (0.75 + 0.25 * clouds[..., None])
    colour = colour + (brightness - colour) * cover * rng.uniform(0.3, 1.0)
    return np.asarray(np.clip(255.0 * colour, 0.0, 255.0), dtype=np.uint8)


def pictured_sky(pictures: list[Picture]) -> Picture:
    """Create a cube map (6, S, S, 3) with a photograph on each face, as a textured background."""
    faces = [
        cv2.resize(pictures[i % len(pictures)], (FACE, FACE), interpolation=cv2.INTER_AREA) for i in range(6)
    ]
    return np.stack(faces).astype(np.uint8, copy=False)


def cube_directions(size: int) -> NDArray[np.float64]:
    """Return the unit vectors (6, S, S, 3) of the texels of a cube map in OpenGL's order of faces."""
    axis = (np.arange(size) + 0.5) * 2.0 / size - 1.0
    s, t = np.meshgrid(axis, axis)
    one = np.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    directions = np.stack([np.stack(face, axis=-1) for face in faces])
    return np.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True))


def fractal(rng: np.random.Generator, size: int, roughness: float = 0.5) -> NDArray[np.float32]:
    """Create tileable fractal noise (S, S), 0 to 1; ``roughness`` is the amplitude ratio of octaves."""
    total = np.zeros((size, size), np.float32)
    for octave in range(_OCTAVES):
        cells = 4 << octave
        grid = rng.random((cells, cells), dtype=np.float32)
        wrapped = np.pad(grid, 2, mode="wrap")
        scale = size // cells
        smooth = cv2.resize(wrapped, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += roughness**octave * smooth[2 * scale : -2 * scale, 2 * scale : -2 * scale]
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / (high - low), dtype=np.float32)

"""Skies: six faces of a cube around the camera, at infinity."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.types import Picture

FACE = 128  # pixels along the side of a face
_OCTAVES = 5


def cloudy_sky(rng: np.random.Generator) -> Picture:
    """Faces (6, S, S, 3) of a sky: brighter towards the horizon, with clouds on a plane overhead; z is up."""
    directions = cube_directions(FACE)
    elevation = np.clip(directions[..., 2], 0.0, 1.0)[..., None]
    horizon = np.array([0.75, 0.8, 0.85]) * rng.uniform(0.6, 1.2)
    zenith = np.array([0.25, 0.45, 0.8]) * rng.uniform(0.4, 1.1) + rng.uniform(-0.05, 0.25, 3)
    colour = horizon + (zenith - horizon) * elevation ** rng.uniform(0.3, 1.0)
    overhead = directions[..., :2] / (np.abs(directions[..., 2:]) + 0.15) * rng.uniform(8.0, 30.0)
    clouds = _sample(fractal(rng, 256), overhead + rng.uniform(0.0, 256.0, 2))
    cover = np.clip((clouds - rng.uniform(0.3, 0.8)) * rng.uniform(1.5, 4.0), 0.0, 1.0)[..., None]
    brightness = rng.uniform(0.7, 1.1) * (0.75 + 0.25 * clouds[..., None])
    colour = colour + (brightness - colour) * cover * rng.uniform(0.3, 1.0)
    return np.asarray(np.clip(255.0 * colour, 0.0, 255.0), dtype=np.uint8)


def pictured_sky(pictures: list[Picture]) -> Picture:
    """Faces (6, S, S, 3) that each show a photograph: a background full of detail."""
    faces = [
        cv2.resize(pictures[i % len(pictures)], (FACE, FACE), interpolation=cv2.INTER_AREA) for i in range(6)
    ]
    return np.stack(faces).astype(np.uint8, copy=False)


def cube_directions(size: int) -> NDArray[np.float64]:
    """Directions (6, S, S, 3) of the texels of a cube map in OpenGL's order and orientation of faces."""
    axis = (np.arange(size) + 0.5) * 2.0 / size - 1.0
    s, t = np.meshgrid(axis, axis)
    one = np.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    directions = np.stack([np.stack(face, axis=-1) for face in faces])
    return np.asarray(directions / np.linalg.norm(directions, axis=-1, keepdims=True))


def fractal(rng: np.random.Generator, size: int, roughness: float = 0.5) -> NDArray[np.float32]:
    """Smooth noise (S, S), 0 to 1, that repeats; each octave is ``roughness`` times the one before."""
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


def _sample(noise: NDArray[np.float32], position: NDArray[np.float64]) -> NDArray[np.float32]:
    """The noise at positions (..., 2) in cells, linear between them, repeating."""
    shape = position.shape[:-1]
    columns = position.reshape(6, -1, 2).astype(np.float32) % noise.shape[0]
    sampled = cv2.remap(
        np.pad(noise, ((0, 1), (0, 1)), mode="wrap"), columns[..., 0], columns[..., 1], cv2.INTER_LINEAR
    )
    return np.asarray(sampled.reshape(shape), dtype=np.float32)

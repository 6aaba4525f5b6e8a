"""Overlap of views: surfaces of one view that are visible in another, from depth and poses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOLERANCE = 0.05  # relative depth difference above which a point is occluded
_COLUMNS = 40  # number of columns of the grid of pixels on which overlap is measured


def sparse_points(depth: NDArray[np.float32], K: Array, columns: int = _COLUMNS) -> Array:
    """Return the points (N, 3), camera frame, of a grid of pixels with known and finite depth (H, W)."""
    height, width = depth.shape
    step = max(1, round(width / columns))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    return lift(np.stack([x, y], axis=-1).reshape(-1, 2), depth[y, x].ravel(), K)


def lift(pixels: NDArray[np.int64], depth: NDArray[np.float32], K: Array) -> Array:
    """Back-project pixels (N, 2) with depth (N,) to points (M, 3), skipping unknown and infinite depth."""
    known = np.isfinite(depth) & (depth > 0.0)
    rays = (pixels[known] - K[[0, 1], [2, 2]]) / K[[0, 1], [0, 1]]
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth[known, None]


def project(points: Array, K: Array, width: int, height: int) -> tuple[Array, NDArray[np.bool_]]:
    """Project points (N, 3), camera frame, to pixels (N, 2); also return whether (N,) they are visible."""
    depth = points[:, 2]
    pixels = points[:, :2] / np.maximum(depth, 1e-6)[:, None] * K[[0, 1], [0, 1]] + K[[0, 1], [2, 2]]
    inside = (pixels > -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    return pixels, inside & (depth > 0.0)


def seen(points: Array, depth: NDArray[np.float32], K: Array) -> NDArray[np.bool_]:
    """Return whether (N,) points (N, 3), camera frame, are inside the depth image (H, W) and not occluded."""
    height, width = depth.shape
    pixels, inside = project(points, K, width, height)
    x, y = np.rint(np.where(inside[:, None], pixels, 0.0)).astype(np.int64).T
    surface = depth[y, x]
    return inside & (surface > 0.0) & (np.abs(points[:, 2] - surface) <= _TOLERANCE * points[:, 2])


def overlap_matrix(depths: list[NDArray[np.float32]], K: Array, T_world_camera: Array) -> Array:
    """Compute the fraction (V, V) of the surfaces of view i (row) that are visible in view j (column).

    Args:
        depths: V depth images (H, W).
        K: (V, 3, 3) camera matrices.
        T_world_camera: (V, 4, 4) poses.
    """
    count = len(depths)
    matrix = np.eye(count)
    world = [
        sparse_points(depth, K[i]) @ T_world_camera[i, :3, :3].T + T_world_camera[i, :3, 3]
        for i, depth in enumerate(depths)
    ]
    for j in range(count):
        others = [i for i in range(count) if i != j and len(world[i])]
        if not others:
            continue
        points = np.concatenate([world[i] for i in others])
        in_camera = (points - T_world_camera[j, :3, 3]) @ T_world_camera[j, :3, :3]
        visible = np.split(seen(in_camera, depths[j], K[j]), np.cumsum([len(world[i]) for i in others])[:-1])
        matrix[others, j] = [part.mean() for part in visible]
    return matrix

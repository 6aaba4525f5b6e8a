"""Which surfaces of one view another view sees, from depth and pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TOLERANCE = 0.05  # relative; a point whose depth differs more from the surface seen is hidden
_COLUMNS = 40  # of the grid of pixels on which overlap is measured


def sparse_points(depth: NDArray[np.float32], K: Array, columns: int = _COLUMNS) -> Array:
    """Points (N, 3) in the camera's frame on a grid of pixels, where the depth is known and finite."""
    height, width = depth.shape
    step = max(1, round(width / columns))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    return lift(np.stack([x, y], axis=-1).reshape(-1, 2), depth[y, x].ravel(), K)


def lift(pixels: NDArray[np.int64], depth: NDArray[np.float32], K: Array) -> Array:
    """Points (N, 3) of pixels (N, 2) with depth (N,); those without known and finite depth are left out."""
    known = np.isfinite(depth) & (depth > 0.0)
    rays = (pixels[known] - K[[0, 1], [2, 2]]) / K[[0, 1], [0, 1]]
    return np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth[known, None]


def project(points: Array, K: Array, width: int, height: int) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels (N, 2) of points (N, 3) in the camera's frame, and which lie in front of it and in the image."""
    depth = points[:, 2]
    pixels = points[:, :2] / np.maximum(depth, 1e-6)[:, None] * K[[0, 1], [0, 1]] + K[[0, 1], [2, 2]]
    inside = (pixels > -0.5).all(axis=1) & (pixels[:, 0] < width - 0.5) & (pixels[:, 1] < height - 0.5)
    return pixels, inside & (depth > 0.0)


def seen(points: Array, depth: NDArray[np.float32], K: Array) -> NDArray[np.bool_]:
    """Which points (N, 3) of the camera's frame appear in its depth image (H, W), not outside or hidden."""
    height, width = depth.shape
    pixels, inside = project(points, K, width, height)
    x, y = np.rint(np.where(inside[:, None], pixels, 0.0)).astype(np.int64).T
    surface = depth[y, x]
    return inside & (surface > 0.0) & (np.abs(points[:, 2] - surface) <= _TOLERANCE * points[:, 2])


def overlap_matrix(depths: list[NDArray[np.float32]], K: Array, T_world_camera: Array) -> Array:
    """Share (V, V) of the surfaces in view i (row) that view j (column) sees; 1 on the diagonal.

    Args:
        depths: V images (H, W); K, T_world_camera: (V, 3, 3) and (V, 4, 4).
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

"""Clusters: overlapping views of one scene with poses and depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.matched_scenes import PointMatches

Matrices = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cluster:
    """V overlapping views.

    Attributes:
        images: (V, H, W, 3) uint8 RGB.
        K: (V, 3, 3) pinhole matrices, pixel (0, 0) at the centre of the top-left pixel.
        T_world_camera: (V, 4, 4) poses of optical frames, metres; the origin is the first camera's centre.
        depth: (V, H, W) float32, metres; infinite: sky; 0: unknown, or a moving object.
        overlap: (V, V), fraction of the surfaces in view i (row) visible in view j (column).
        valid: (V, V) bool, ordered pairs with enough overlap in both directions.
        regime: name of the motion regime.
        scene: name of the scene.
        metric: whether lengths are in metres.
        matches: true matches of view 0 with view 1 of clusters of two views without depth; else None.
    """

    images: NDArray[np.uint8]
    K: Matrices
    T_world_camera: Matrices
    depth: NDArray[np.float32]
    overlap: Matrices
    valid: NDArray[np.bool_]
    regime: str
    scene: str
    metric: bool = True
    matches: PointMatches | None = None

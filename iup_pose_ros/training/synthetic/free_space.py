"""What surrounds a viewpoint in all directions: where a camera may move, and how bright the scene is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.training.synthetic.renderer import View

SIZE = 32  # pixels along the side of each of six views
CLEARANCE = 0.25  # metres between a camera and every surface
_SPACING = 0.05  # of neighbouring samples, as a share of their distance
_FACES = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))

Draw = Callable[[NDArray[np.float64], NDArray[np.float64], int, int], View]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Samples of all that is seen from one point.

    Attributes:
        centre: (3,) the point.
        directions: (N, 3) unit vectors, world frame.
        distances: (N,) metres, infinite where the sky is seen.
        brightness: (N,) mean of red, green and blue, 0 to 1.
    """

    centre: NDArray[np.float64]
    directions: NDArray[np.float64]
    distances: NDArray[np.float64]
    brightness: NDArray[np.float64]

    @classmethod
    def look(cls, centre: NDArray[np.float64], draw: Draw) -> Surroundings:
        """The surroundings of a point; ``draw`` renders a view of K, T_world_camera, width and height."""
        K = np.array(
            [[0.5 * SIZE, 0.0, 0.5 * SIZE - 0.5], [0.0, 0.5 * SIZE, 0.5 * SIZE - 0.5], [0.0, 0.0, 1.0]]
        )
        y, x = np.mgrid[:SIZE, :SIZE]
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1).reshape(
            -1, 3
        )
        length = np.linalg.norm(rays, axis=1)
        directions, distances, brightness = [], [], []
        for forward in _FACES:
            T_world_camera = _facing(centre, np.array(forward, dtype=np.float64))
            view = draw(K, T_world_camera, SIZE, SIZE)
            directions.append((rays / length[:, None]) @ T_world_camera[:3, :3].T)
            distances.append(view.depth.ravel() * length)
            brightness.append(view.colour.reshape(-1, 3).mean(axis=1) / 255.0)
        return cls(centre, np.concatenate(directions), np.concatenate(distances), np.concatenate(brightness))

    def is_free(self, position: NDArray[np.float64], clearance: float = CLEARANCE) -> bool:
        """Whether the straight way from the centre to a position keeps clear of all surfaces."""
        way = position - self.centre
        length = float(np.linalg.norm(way))
        if length == 0.0:
            return True
        seen = np.isfinite(self.distances)
        directions, distances = self.directions[seen], self.distances[seen]
        along = np.clip(distances * (directions @ way) / length, 0.0, length)
        gap = np.linalg.norm(distances[:, None] * directions - along[:, None] * (way / length), axis=1)
        needed = np.maximum(clearance, _SPACING * distances)
        # What is already nearer to the centre than that must only not be approached.
        return bool((gap > np.minimum(needed, 0.9 * distances)).all())

    def brightness_towards(self, forward: NDArray[np.float64], half_angle: float) -> float:
        """Mean brightness of the surfaces in a cone about a direction, radians; 0 where there is only sky."""
        inside = (self.directions @ forward > np.cos(half_angle)) & np.isfinite(self.distances)
        return float(self.brightness[inside].mean()) if inside.any() else 0.0


def _facing(centre: NDArray[np.float64], forward: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_world_camera (4, 4) of a camera that looks along one of the world's axes."""
    right = np.roll(forward, 1)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = centre
    return matrix

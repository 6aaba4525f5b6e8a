"""Distance and brightness of the scene in all directions from a viewpoint, to find free space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.training.synthetic.renderer import View

SIZE = 32  # side of each of the six views, pixels
CLEARANCE = 0.25  # minimum distance of a camera from all surfaces, metres
_SPACING = 0.05  # distance of neighbouring samples, relative to their distance from the viewpoint
_FACES = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))

Draw = Callable[[NDArray[np.float64], NDArray[np.float64], int, int], View]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Samples of the scene around a viewpoint.

    Attributes:
        centre: (3,) viewpoint, metres, world frame.
        directions: (N, 3) unit vectors, world frame.
        distances: (N,) metres; infinite: sky.
        brightness: (N,) mean of red, green and blue, 0 to 1.
    """

    centre: NDArray[np.float64]
    directions: NDArray[np.float64]
    distances: NDArray[np.float64]
    brightness: NDArray[np.float64]

    @classmethod
    def look(cls, centre: NDArray[np.float64], draw: Draw) -> Surroundings:
        """Sample the surroundings of a point by rendering the six faces of a cube.

        Args:
            centre: (3,) viewpoint, metres, world frame.
            draw: renders a view of K (3, 3), T_world_camera (4, 4), width and height.
        """
        focal, middle = 0.5 * SIZE, 0.5 * SIZE - 0.5
        K = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
        y, x = np.mgrid[:SIZE, :SIZE]
        rays = np.stack([(x - middle) / focal, (y - middle) / focal, np.ones_like(x)], axis=-1).reshape(-1, 3)
        length = np.linalg.norm(rays, axis=1)
        directions, distances, brightness = [], [], []
        T_world_camera = np.eye(4)
        T_world_camera[:3, 3] = centre
        for face in _FACES:
            forward = np.array(face, dtype=np.float64)
            right = np.roll(forward, 1)
            T_world_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
            view = draw(K, T_world_camera, SIZE, SIZE)
            directions.append((rays / length[:, None]) @ T_world_camera[:3, :3].T)
            distances.append(view.depth.ravel() * length)
            brightness.append(view.colour.reshape(-1, 3).mean(axis=1) / 255.0)
        return cls(centre, np.concatenate(directions), np.concatenate(distances), np.concatenate(brightness))

    def is_free(self, position: NDArray[np.float64], clearance: float = CLEARANCE) -> bool:
        """Return whether the straight path from the viewpoint to a position (3,) is clear of all surfaces."""
        path = position - self.centre
        length = float(np.linalg.norm(path))
        if length == 0.0:
            return True
        seen = np.isfinite(self.distances)
        directions, distances = self.directions[seen], self.distances[seen]
        along = np.clip(distances * (directions @ path) / length, 0.0, length)
        gap = np.linalg.norm(distances[:, None] * directions - along[:, None] * (path / length), axis=1)
        required = np.maximum(clearance, _SPACING * distances)
        # Surfaces that are already within the clearance must not be approached.
        return bool((gap > np.minimum(required, 0.9 * distances)).all())

    def brightness_towards(self, forward: NDArray[np.float64], half_angle: float) -> float:
        """Return the mean brightness of surfaces in a cone about a unit vector (3,); 0 without surfaces."""
        inside = (self.directions @ forward > np.cos(half_angle)) & np.isfinite(self.distances)
        return float(self.brightness[inside].mean()) if inside.any() else 0.0

"""Random pinhole cameras: field of view, principal point and pixel aspect ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ConfigurationError


@dataclass(frozen=True)
class CameraConfig:
    """Distribution of camera intrinsics.

    Attributes:
        field_of_view: minimum, mode and maximum (triangular distribution) of the field of view along the
            longer image side, degrees.
        mixed: fraction of clusters in which each view has a different camera, as in photo collections.
        off_centre: maximum offset of the principal point from the image centre, relative to each side.
        stretch: maximum deviation of fy / fx from 1.

    Raises:
        ConfigurationError: the field of view is not in increasing order between 10 and 150 degrees.
    """

    field_of_view: tuple[float, float, float] = (40.0, 65.0, 110.0)
    mixed: float = 0.3
    off_centre: float = 0.06
    stretch: float = 0.04

    def __post_init__(self) -> None:
        low, mode, high = self.field_of_view
        if not 10.0 <= low <= mode <= high <= 150.0 or low == high:
            raise ConfigurationError(
                f"field_of_view {self.field_of_view} must be increasing and between 10 and 150 degrees"
            )

    def draw(self, count: int, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw camera matrices (count, 3, 3) for images of width x height pixels."""
        different = rng.random() < self.mixed
        first = self._draw_one(width, height, rng)
        cameras = [self._draw_one(width, height, rng) if different else first for _ in range(count - 1)]
        return np.stack([first, *cameras])

    def _draw_one(self, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
        angle = math.radians(rng.triangular(*self.field_of_view))
        focal = 0.5 * max(width, height) / math.tan(0.5 * angle)
        off = self.off_centre * rng.uniform(-1.0, 1.0, 2)
        stretch = 1.0 + self.stretch * rng.uniform(-1.0, 1.0)
        centre = ((0.5 + off[0]) * width - 0.5, (0.5 + off[1]) * height - 0.5)
        return np.array([[focal, 0.0, centre[0]], [0.0, focal * stretch, centre[1]], [0.0, 0.0, 1.0]])

"""Moving objects: textured polygons in front of the cameras, at a different place in each view."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry import so3
from iup_pose_ros.training.synthetic.mesh import VERTEX, Mesh

Vector = NDArray[np.float64]

_CORNERS = 10


@dataclass(frozen=True)
class DistractorConfig:
    """Distribution of moving objects. Ranges are (minimum, maximum).

    Attributes:
        share: fraction of clusters with moving objects.
        max_count: maximum number of objects in a cluster.
        size: range of the radius, relative to the distance from the first camera.
        distance: range of the distance, relative to the depth of the scene.
        speed: range of the standard deviation of the position between views, relative to the depth.
        max_hidden: maximum fraction of a view that the objects occlude; other views are rendered without.
    """

    share: float = 0.35
    max_count: int = 3
    size: tuple[float, float] = (0.05, 0.22)
    distance: tuple[float, float] = (0.35, 0.9)
    speed: tuple[float, float] = (0.02, 0.3)
    max_hidden: float = 0.35


@dataclass(frozen=True, eq=False)
class Distractor:
    """A moving polygon.

    Attributes:
        centre: (3,) position in the first view, metres, world frame.
        orientation: (3, 3) axes of the polygon as columns; the third is its normal.
        outline: (C, 2) corners in the plane of the polygon, metres.
        speed: standard deviation of its position between views, metres.
        layer: texture layer.
        light: baked light, 0 to 1.
    """

    centre: Vector
    orientation: NDArray[np.float64]
    outline: NDArray[np.float64]
    speed: float
    layer: int
    light: float

    @classmethod
    def draw(
        cls,
        config: DistractorConfig,
        T_world_camera: NDArray[np.float64],
        depth: float,
        layers: tuple[int, ...],
        light: float,
        rng: np.random.Generator,
    ) -> Distractor:
        """Draw a polygon that faces a camera and is in its field of view.

        Args:
            config: distribution of the polygons.
            T_world_camera: (4, 4) pose of the camera.
            depth: depth of the scene, metres.
            layers: texture layers to choose from.
            light: light that shows a texture with its own brightness at the exposure of the camera.
            rng: random generator.
        """
        distance = depth * rng.uniform(*config.distance)
        position = distance * np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.4), 1.0])
        angles = np.linspace(0.0, 2.0 * math.pi, _CORNERS, endpoint=False) + rng.uniform(0.0, 0.4, _CORNERS)
        radius = distance * rng.uniform(*config.size) * rng.uniform(0.6, 1.0, _CORNERS)
        stretch = np.array([1.0, rng.uniform(0.6, 2.0)])
        outline = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1) * stretch
        facing = T_world_camera[:3, :3] @ so3.exp(0.4 * rng.standard_normal(3))
        return cls(
            centre=T_world_camera[:3, :3] @ position + T_world_camera[:3, 3],
            orientation=facing,
            outline=outline,
            speed=depth * rng.uniform(*config.speed),
            layer=int(rng.choice(layers)),
            light=min(1.0, light * rng.uniform(0.4, 1.2)),
        )

    def moved(self, rng: np.random.Generator) -> Distractor:
        """Return the polygon with the random pose that it has in another view."""
        turn = so3.exp(0.25 * rng.standard_normal(3))
        centre = self.centre + self.speed * rng.standard_normal(3) * np.array([1.0, 1.0, 0.3])
        return replace(self, centre=centre, orientation=self.orientation @ turn)


def distractor_mesh(distractors: list[Distractor], scene: Mesh) -> Mesh:
    """Triangulate the polygons; the mesh has the textures of the scene."""
    vertices, triangles = [], []
    for number, distractor in enumerate(distractors):
        fan = np.zeros(_CORNERS + 1, VERTEX)
        plane = np.concatenate([np.zeros((1, 2)), distractor.outline])
        fan["position"] = distractor.centre + plane @ distractor.orientation[:, :2].T
        fan["uv"] = 0.5 + 0.48 * plane / np.abs(plane).max(axis=0)
        fan["colour"] = round(255.0 * distractor.light)
        fan["layer"] = distractor.layer
        vertices.append(fan)
        rim = np.arange(_CORNERS)
        corners = np.stack([np.zeros_like(rim), 1 + rim, 1 + (rim + 1) % _CORNERS], axis=1)
        triangles.append(corners + number * (_CORNERS + 1))
    return Mesh.from_triangles(
        np.concatenate(vertices), np.concatenate(triangles).astype(np.int32), scene.textures, scene.mirrored
    )

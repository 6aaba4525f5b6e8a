"""Things that move by themselves: textured polygons in front of the cameras, elsewhere in every view."""

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
    """How often something moves, and how.

    Attributes:
        share: of clusters with distractors.
        most: greatest number of them.
        size: least and greatest radius, as a share of their distance from the first camera.
        distance: least and greatest distance, as a share of the depth of the scene.
        speed: least and greatest spread of their positions between views, as a share of that depth.
        most_hidden: greatest share of a view that they hide; a view in which it would be more has none.
    """

    share: float = 0.35
    most: int = 3
    size: tuple[float, float] = (0.05, 0.22)
    distance: tuple[float, float] = (0.35, 0.9)
    speed: tuple[float, float] = (0.02, 0.3)
    most_hidden: float = 0.35


@dataclass(frozen=True, eq=False)
class Distractor:
    """One polygon.

    Attributes:
        centre: (3,) where it is in the first view, metres.
        orientation: (3, 3) its axes as columns; the third is its normal.
        outline: (C, 2) corners in its plane, metres.
        speed: spread of its positions between views, metres.
        layer: texture.
        light: baked on it, 0 to 1.
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
        """A polygon that faces a camera, within its field of view.

        Args:
            T_world_camera: (4, 4) the camera.
            depth: of the scene in metres.
            layers: textures to choose from.
            light: with which the camera's exposure shows a texture as bright as it is.
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
        """The polygon where another view finds it."""
        turn = so3.exp(0.25 * rng.standard_normal(3))
        centre = self.centre + self.speed * rng.standard_normal(3) * np.array([1.0, 1.0, 0.3])
        return replace(self, centre=centre, orientation=self.orientation @ turn)


def distractor_mesh(distractors: list[Distractor], scene: Mesh) -> Mesh:
    """The polygons as triangles, with the textures of the scene they are in."""
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

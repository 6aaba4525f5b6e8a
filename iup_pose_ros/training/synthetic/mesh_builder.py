"""Construction of meshes from lit rectangles, boxes and grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iup_pose_ros.training.synthetic.mesh import VERTEX, Mesh
from iup_pose_ros.types import Picture

Vector = NDArray[np.float64]

_AMBIENT = 0.55  # ambient fraction of the light
_UNEVEN = 0.15  # maximum random reduction of the brightness of a vertex


class MeshBuilder:
    """Collects surfaces, lit by a sun of random direction and with random variations.

    Args:
        layers: number of textures to choose from.
        rng: random generator.
    """

    def __init__(self, layers: int, rng: np.random.Generator) -> None:
        self._layers, self._rng = layers, rng
        sun = rng.standard_normal(3) + np.array([0.0, 0.0, 1.0])
        self._sun = sun / np.linalg.norm(sun)
        self._vertices: list[NDArray[np.void]] = []
        self._triangles: list[NDArray[np.int32]] = []
        self._count = 0

    def layer(self) -> int:
        """Draw a texture layer."""
        return int(self._rng.integers(self._layers))

    def add_rectangle(
        self, centre: ArrayLike, half_u: ArrayLike, half_v: ArrayLike, repeat: ArrayLike, layer: int
    ) -> None:
        """Add a rectangle.

        Args:
            centre: (3,) metres.
            half_u: (3,) half axis along the rows of the texture, to the right.
            half_v: (3,) half axis along the columns of the texture, downwards.
            repeat: (2,) repetitions of the texture.
            layer: texture layer.
        """
        corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        axes = np.stack([np.asarray(half_u, dtype=np.float64), np.asarray(half_v, dtype=np.float64)])
        uv = 0.5 * (corners + 1.0) * np.asarray(repeat)
        normal = np.cross(axes[0], axes[1])
        normals = np.repeat(normal[None] / np.linalg.norm(normal), 4, axis=0)
        triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
        self._add(np.asarray(centre) + corners @ axes, uv, normals, layer, triangles)

    def add_box(self, centre: ArrayLike, half: Vector, yaw: float, metres: float) -> None:
        """Add a box, each pair of opposite faces with a random texture.

        Args:
            centre: (3,) metres.
            half: (3,) half lengths of the sides, metres.
            yaw: rotation about z, radians.
            metres: size of one copy of the texture.
        """
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
        for axis in range(3):
            layer = self.layer()
            # The rows of the texture are horizontal on the four vertical faces.
            u, v = ((1, 2), (0, 2), (0, 1))[axis]
            for side in (-1.0, 1.0):
                outward, right, down = np.zeros(3), np.zeros(3), np.zeros(3)
                outward[axis], right[u], down[v] = side * half[axis], half[u], -half[v]
                repeat = np.maximum(1.0, 2.0 * half[[u, v]] / metres)
                middle = np.asarray(centre) + turn @ outward
                self.add_rectangle(middle, turn @ right, turn @ down, repeat, layer)

    def add_blob(self, centre: ArrayLike, half: Vector, layer: int) -> None:
        """Add an ellipsoid with dents and half axes ``half`` (3,), metres."""
        down, around = np.meshgrid(np.linspace(0.02, np.pi - 0.02, 13), np.linspace(0.0, 2.0 * np.pi, 21))
        waves = [self._rng.integers(1, 4, 2) for _ in range(3)]
        dents = sum(np.sin(a * around + 6.0 * self._rng.random()) * np.sin(b * down) for a, b in waves)
        radius = 1.0 + self._rng.uniform(0.0, 0.15) * np.asarray(dents)
        sphere = [np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)]
        positions = np.asarray(centre) + radius[..., None] * np.stack(sphere, axis=-1) * half
        self._add_surface(positions, np.stack([around / np.pi, down / np.pi], axis=-1), layer)

    def add_grid(self, positions: Vector, metres: float, layer: int) -> None:
        """Add a surface through a grid of points (R, C, 3), textured from above, ``metres`` per texture."""
        self._add_surface(positions, positions[..., :2] / metres, layer)

    def _add_surface(self, positions: Vector, uv: Vector, layer: int) -> None:
        rows, columns = positions.shape[:2]
        along_rows, along_columns = np.gradient(positions, axis=(0, 1))
        normals = np.cross(along_columns, along_rows).reshape(-1, 3)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        index = np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = (
            part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1])
        )
        triangles = np.stack([a, b, c, a, c, d], axis=1).reshape(-1, 3).astype(np.int32)
        self._add(positions.reshape(-1, 3), uv.reshape(-1, 2), normals, layer, triangles)

    def mesh(self, textures: Picture) -> Mesh:
        """Return the mesh of all surfaces; ``textures`` (L, S, S, 3) are the layers."""
        vertices, triangles = np.concatenate(self._vertices), np.concatenate(self._triangles)
        return Mesh.from_triangles(vertices, triangles, textures, mirrored=True)

    def _add(
        self, positions: Vector, uv: Vector, normals: Vector, layer: int, triangles: NDArray[np.int32]
    ) -> None:
        vertices = np.zeros(len(positions), VERTEX)
        facing = np.abs(normals @ self._sun)
        uneven = 1.0 - _UNEVEN * self._rng.random(len(positions))
        light = (_AMBIENT + (1.0 - _AMBIENT) * facing) * uneven
        vertices["position"], vertices["uv"], vertices["layer"] = positions, uv, layer
        vertices["colour"] = np.round(255.0 * light)[:, None]
        self._vertices.append(vertices)
        self._triangles.append(triangles + self._count)
        self._count += len(positions)

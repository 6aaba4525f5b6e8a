"""Textured triangle meshes of the renderer: one table of vertices, one stack of textures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError
from iup_pose_ros.types import Picture

Floats = NDArray[np.float32]

CHUNK = 1024  # maximum number of triangles in a chunk
VERTEX = np.dtype(
    [("position", "f4", 3), ("uv", "f4", 2), ("lightmap_uv", "f4", 2), ("colour", "u1", 3), ("layer", "u1")]
)


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with textures and baked light, in chunks with bounding boxes for frustum culling.

    Attributes:
        vertices: (N,) of dtype ``VERTEX``: position in metres, world frame; uv, where (0, 0) is the first
            pixel of the first row; lightmap_uv likewise; colour, baked light times 255; layer of the texture.
        indices: (3 M,) int32, three vertices per triangle, sorted by chunk.
        chunk_first, chunk_count: (C,) first element and length of each chunk in ``indices``.
        chunk_low, chunk_high: (C, 3) corners of the bounding boxes, metres.
        textures: (L, S, S, 3) uint8 RGB.
        mirrored: whether repeated textures are mirrored, so that photographs have no seams.
        lightmap: (h, w, 3) uint8, multiplied with texture and colour.
    """

    vertices: NDArray[np.void]
    indices: NDArray[np.int32]
    chunk_first: NDArray[np.int64]
    chunk_count: NDArray[np.int64]
    chunk_low: Floats
    chunk_high: Floats
    textures: Picture
    mirrored: bool
    lightmap: Picture

    @classmethod
    def from_triangles(
        cls,
        vertices: NDArray[np.void],
        triangles: NDArray[np.int32],
        textures: Picture,
        mirrored: bool = False,
        lightmap: Picture | None = None,
    ) -> Mesh:
        """Create a mesh from triangles.

        Args:
            vertices: (N,) of dtype ``VERTEX``.
            triangles: (M, 3) indices of vertices.
            textures, mirrored: see the attributes.
            lightmap: see the attributes; default: white.

        Raises:
            DataError: there is no triangle, or there are more than 256 textures.
        """
        if len(triangles) == 0:
            raise DataError("a mesh needs at least one triangle")
        if len(textures) > 256:
            raise DataError(f"a mesh has {len(textures)} textures; at most 256 are possible")
        corners = vertices["position"][triangles]
        chunks = split_at_medians(corners.mean(axis=1))
        low, high = corners.min(axis=1), corners.max(axis=1)
        counts = np.array([3 * len(chunk) for chunk in chunks])
        return cls(
            vertices=vertices,
            indices=np.ascontiguousarray(triangles[np.concatenate(chunks)].ravel(), dtype=np.int32),
            chunk_first=np.cumsum(counts) - counts,
            chunk_count=counts,
            chunk_low=np.array([low[chunk].min(axis=0) for chunk in chunks]),
            chunk_high=np.array([high[chunk].max(axis=0) for chunk in chunks]),
            textures=textures,
            mirrored=mirrored,
            lightmap=np.full((1, 1, 3), 255, np.uint8) if lightmap is None else lightmap,
        )

    def visible_chunks(self, clip_from_world: NDArray[np.float64], centre: Floats) -> NDArray[np.int64]:
        """Return the chunks whose bounding box intersects the view frustum, the nearest first.

        Args:
            clip_from_world: (4, 4); a point is inside if -w <= x <= w, -w <= y <= w and w > 0.
            centre: (3,) position of the camera, metres.
        """
        # The planes (5, 4) of the frustum (left, right, top, bottom, front); the inside is positive.
        x, y, _, w = clip_from_world
        planes = np.stack([w + x, w - x, w + y, w - y, w])
        # A box is outside of a plane if its corner farthest along the normal is outside.
        corner = np.where(planes[:, None, :3] > 0.0, self.chunk_high, self.chunk_low)
        inside = ((corner * planes[:, None, :3]).sum(axis=-1) + planes[:, 3:] > 0.0).all(axis=0)
        visible = np.flatnonzero(inside)
        nearest = np.clip(centre, self.chunk_low[visible], self.chunk_high[visible])
        return visible[np.argsort(((nearest - centre) ** 2).sum(axis=1), kind="stable")]


def texture_stack(pictures: Sequence[Picture], size: int) -> Picture:
    """Resize pictures (H, W, 3) to layers (L, size, size, 3)."""
    layers = []
    for picture in pictures:
        interpolation = cv2.INTER_AREA if max(picture.shape[:2]) > size else cv2.INTER_LINEAR
        layers.append(cv2.resize(picture, (size, size), interpolation=interpolation))
    return np.stack(layers).astype(np.uint8, copy=False)


def split_at_medians(centres: Floats) -> list[NDArray[np.int64]]:
    """Split points (M, 3) at the median of the longest side into groups of at most ``CHUNK`` indices."""
    waiting, chunks = [np.arange(len(centres))], []
    while waiting:
        group = waiting.pop()
        if len(group) <= CHUNK:
            chunks.append(group)
            continue
        points = centres[group]
        axis = int(np.ptp(points, axis=0).argmax())
        order = np.argsort(points[:, axis], kind="stable")
        half = len(group) // 2
        waiting += [group[order[half:]], group[order[:half]]]
    return chunks

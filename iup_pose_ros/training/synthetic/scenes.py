"""Textured 3D scenes for rendering, and their files.

A file ``<name>.npz`` contains a mesh with textures, baked light and viewpoints in free space (z up, metres).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.synthetic.mesh import VERTEX, Mesh, texture_stack
from iup_pose_ros.types import Picture

HELDOUT_SCENES = ("aws_bookstore", "oa_dm3", "oa_dm5", "oa_minia", "oa_shouse")
SPLITS = ("train", "heldout", "all")

_ARRAYS = (
    "positions",
    "uv",
    "lightmap_uv",
    "colour",
    "triangles",
    "material",
    "transparent",
    "textures_jpeg",
    "texture_offsets",
    "lightmap_jpeg",
    "camera_centres",
    "camera_view_hit",
    "camera_view_depth",
    "camera_view_detail",
)
_MIN_HIT = 0.75  # fraction of a view that shows surfaces
_MIN_DETAIL = (0.5, 0.3, 0.1)  # fraction with detail; the first that leaves enough viewpoints
_ENOUGH_VIEWPOINTS = 600


@dataclass(frozen=True, eq=False)
class Scene:
    """A mesh with viewpoints in free space.

    Attributes:
        name: name of the file or of the procedure.
        mesh: geometry and textures.
        viewpoints: (N, 5) x, y, z in metres, heading in radians counter-clockwise from +x, and median depth
            of the view in metres (0: unknown).
        sprites: texture layers for distractors; photographs if there are any.
        free_radius: distance from a viewpoint within which space is free, metres.
    """

    name: str
    mesh: Mesh
    viewpoints: NDArray[np.float64]
    sprites: tuple[int, ...]
    free_radius: float = 0.25


def scene_files(folder: Path, split: str, heldout: Sequence[str] = HELDOUT_SCENES) -> list[Path]:
    """Return the scene files of a split, sorted by name.

    Args:
        folder: folder with *.npz files.
        split: ``train``, ``heldout`` or ``all``.
        heldout: names of the scenes that are excluded from training.

    Raises:
        ConfigurationError: the split is unknown.
        DataError: the folder has no scene of this split.
    """
    check_split(split)
    files = sorted(folder.glob("*.npz"))
    selected = [path for path in files if split == "all" or (path.stem in heldout) == (split == "heldout")]
    if not selected:
        raise DataError(f"{folder} has {len(files)} scenes (*.npz), none of them of split {split!r}")
    return selected


def check_split(split: str) -> None:
    """Raise ConfigurationError if a split is unknown."""
    if split not in SPLITS:
        raise ConfigurationError(f"split {split!r} does not exist; accepted: {', '.join(SPLITS)}")


def load_scene(
    path: Path,
    sprites: Sequence[Picture] = (),
    replacements: Sequence[Picture] = (),
    rng: np.random.Generator | None = None,
) -> Scene:
    """Load the scene of a file.

    Args:
        path: .npz file.
        sprites: photographs for distractors; without any, distractors use the textures of the scene.
        replacements: photographs that replace about half of the textures.
        rng: random generator, required with replacements.

    Raises:
        DataError: the file is missing, is not a scene, or lacks an array.
    """
    arrays = read_arrays(path)
    encoded = arrays["textures_jpeg"]
    pictures = [_decode(encoded[first:last], path) for first, last in pairwise(arrays["texture_offsets"])]
    if replacements and rng is not None:
        chosen = rng.integers(2 * len(replacements), size=len(pictures))
        pictures = [
            replacements[i] if i < len(replacements) else picture
            for i, picture in zip(chosen, pictures, strict=True)
        ]
    size = 256 if np.median([max(picture.shape[:2]) for picture in pictures]) <= 256 else 512
    layers = texture_stack([*pictures, *sprites], size)
    lightmap = _decode(arrays["lightmap_jpeg"], path) if len(arrays["lightmap_jpeg"]) else None
    vertices, triangles = split_vertices_by_texture(arrays, ~arrays["transparent"])
    mesh = Mesh.from_triangles(vertices, triangles, layers, lightmap=lightmap)
    first = len(pictures) if len(sprites) else 0
    return Scene(path.stem, mesh, select_viewpoints(arrays, path), tuple(range(first, len(layers))))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a scene file.

    Raises:
        DataError: the file is missing or not readable, or lacks an array.
    """
    if not path.is_file():
        raise DataError(f"scene {path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _ARRAYS if name not in archive.files]
            if missing:
                raise DataError(f"scene {path} lacks the arrays {', '.join(missing)}; it has {archive.files}")
            return {name: archive[name] for name in _ARRAYS}
    except (ValueError, OSError) as error:
        raise DataError(f"scene {path} is not a readable .npz archive: {error}") from error


def _decode(encoded: NDArray[np.uint8], path: Path) -> Picture:
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise DataError(f"scene {path} has a texture that is not a JPEG image")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def split_vertices_by_texture(
    arrays: dict[str, NDArray[Any]], selected: NDArray[np.bool_]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """Duplicate vertices that are used with several textures.

    Args:
        arrays: arrays of a scene file.
        selected: (M,) triangles to keep.

    Returns:
        Vertices of dtype ``VERTEX`` and triangles (K, 3).
    """
    key = arrays["triangles"][selected].astype(np.int64) * 65536 + arrays["material"][selected, None]
    distinct, triangles = np.unique(key, return_inverse=True)
    source = distinct // 65536
    vertices = np.zeros(len(distinct), VERTEX)
    vertices["position"] = arrays["positions"][source]
    vertices["uv"] = arrays["uv"][source]
    vertices["lightmap_uv"] = arrays["lightmap_uv"][source]
    vertices["colour"] = arrays["colour"][source]
    vertices["layer"] = distinct % 65536
    return vertices, triangles.reshape(key.shape).astype(np.int32)


def select_viewpoints(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[np.float64]:
    """Return the viewpoints (N, 5) of a scene file whose view has enough surface and detail.

    Raises:
        DataError: there is no such viewpoint.
    """
    headings = arrays["camera_view_hit"].shape[1]
    for detail in _MIN_DETAIL:
        usable = (arrays["camera_view_hit"] > _MIN_HIT) & (arrays["camera_view_detail"] > detail)
        if usable.sum() >= _ENOUGH_VIEWPOINTS:
            break
    if not usable.any():
        raise DataError(f"scene {path} has no viewpoint with a view of textured surfaces")
    centre, heading = np.nonzero(usable)
    yaw = heading * (2.0 * np.pi / headings)
    depth = arrays["camera_view_depth"][centre, heading]
    columns = [arrays["camera_centres"][centre], yaw[:, None], depth[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float64)

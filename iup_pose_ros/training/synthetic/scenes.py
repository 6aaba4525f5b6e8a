"""Textured 3D scenes from which pairs are rendered, and the files they come from.

A file ``<name>.npz`` holds a mesh with textures, baked light and viewpoints in free space (z up, metres).
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
_LEAST_HIT = 0.75
_LEAST_DETAIL = (0.5, 0.3, 0.1)  # the first that leaves enough headings
_ENOUGH_VIEWPOINTS = 600


@dataclass(frozen=True, eq=False)
class Scene:
    """A mesh and where a camera may stand in it.

    Attributes:
        name: of the file or of the procedure.
        mesh: what is seen.
        viewpoints: (N, 5) x, y, z in metres, heading in radians, counter-clockwise from +x, and median depth
            of the view in metres (0: not known).
        sprites: texture layers of the mesh that distractors may use; photographs where there are any.
        free_radius: a move by up to this many metres from a viewpoint stays in free space.
    """

    name: str
    mesh: Mesh
    viewpoints: NDArray[np.float64]
    sprites: tuple[int, ...]
    free_radius: float = 0.25


def scene_files(folder: Path, split: str, heldout: Sequence[str] = HELDOUT_SCENES) -> list[Path]:
    """Scene files of a split, sorted by name: ``train``, ``heldout`` or ``all``.

    Raises:
        ConfigurationError: there is no such split.
        DataError: the folder has no scene of this split.
    """
    check_split(split)
    found = sorted(folder.glob("*.npz"))
    chosen = [path for path in found if split == "all" or (path.stem in heldout) == (split == "heldout")]
    if not chosen:
        raise DataError(f"{folder} has {len(found)} scenes (*.npz), none of them of split {split!r}")
    return chosen


def check_split(split: str) -> None:
    """Raises ConfigurationError for a split that does not exist."""
    if split not in SPLITS:
        raise ConfigurationError(f"split {split!r} does not exist; accepted: {', '.join(SPLITS)}")


def load_scene(
    path: Path,
    sprites: Sequence[Picture] = (),
    replacements: Sequence[Picture] = (),
    rng: np.random.Generator | None = None,
) -> Scene:
    """The scene of a file.

    Args:
        path: of the .npz file.
        sprites: photographs for distractors; without any, the scene's own textures serve.
        replacements: photographs that take the place of about half the textures, drawn with ``rng``.
        rng: needed with replacements only.

    Raises:
        DataError: the file is missing, is no scene, or lacks an array.
    """
    arrays = _read_arrays(path)
    pictures = _pictures(arrays, path)
    if replacements and rng is not None:
        pictures = _retextured(pictures, replacements, rng)
    size = 256 if np.median([max(picture.shape[:2]) for picture in pictures]) <= 256 else 512
    layers = texture_stack([*pictures, *sprites], size)
    lightmap = _picture(arrays["lightmap_jpeg"], path) if len(arrays["lightmap_jpeg"]) else None
    solid = ~arrays["transparent"]
    vertices, triangles = _by_texture(arrays, solid)
    mesh = Mesh.from_triangles(vertices, triangles, layers, lightmap=lightmap)
    first = len(pictures) if len(sprites) else 0
    return Scene(path.stem, mesh, _viewpoints(arrays, path), tuple(range(first, len(layers))))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
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


def _pictures(arrays: dict[str, NDArray[Any]], path: Path) -> list[Picture]:
    offsets = arrays["texture_offsets"]
    encoded = arrays["textures_jpeg"]
    return [_picture(encoded[first:last], path) for first, last in pairwise(offsets)]


def _retextured(
    pictures: list[Picture], replacements: Sequence[Picture], rng: np.random.Generator
) -> list[Picture]:
    chosen = rng.integers(2 * len(replacements), size=len(pictures))
    return [
        replacements[i] if i < len(replacements) else picture
        for i, picture in zip(chosen, pictures, strict=True)
    ]


def _picture(encoded: NDArray[np.uint8], path: Path) -> Picture:
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None:
        raise DataError(f"scene {path} has a texture that is not a JPEG image")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def _by_texture(
    arrays: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """One vertex for every (vertex, texture) in use, and the triangles between them."""
    key = arrays["triangles"][chosen].astype(np.int64) * 65536 + arrays["material"][chosen, None]
    distinct, triangles = np.unique(key, return_inverse=True)
    source = distinct // 65536
    vertices = np.zeros(len(distinct), VERTEX)
    vertices["position"] = arrays["positions"][source]
    vertices["uv"] = arrays["uv"][source]
    vertices["lightmap_uv"] = arrays["lightmap_uv"][source]
    vertices["colour"] = arrays["colour"][source]
    vertices["layer"] = distinct % 65536
    return vertices, triangles.reshape(key.shape).astype(np.int32)


def _viewpoints(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[np.float64]:
    """Centres with the headings that look onto enough geometry and detail."""
    headings = arrays["camera_view_hit"].shape[1]
    for detail in _LEAST_DETAIL:
        good = (arrays["camera_view_hit"] > _LEAST_HIT) & (arrays["camera_view_detail"] > detail)
        if good.sum() >= _ENOUGH_VIEWPOINTS:
            break
    if not good.any():
        raise DataError(f"scene {path} has no viewpoint that looks onto geometry with detail")
    centre, heading = np.nonzero(good)
    yaw = heading * (2.0 * np.pi / headings)
    depth = arrays["camera_view_depth"][centre, heading]
    columns = [arrays["camera_centres"][centre], yaw[:, None], depth[:, None]]
    return np.concatenate(columns, axis=1).astype(np.float64)

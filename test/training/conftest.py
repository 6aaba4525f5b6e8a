from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from iup_pose_ros.training.synthetic.renderer import Renderer, RendererError

_HALF = 3.0


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    try:
        made = Renderer()
    except RendererError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.fixture
def write_scene() -> Callable[..., None]:
    """Writes a tiny scene in the layout of the scene files: a textured cube of 6 m around its viewpoints."""
    return _write_scene


def _write_scene(path: Path, **changes: np.ndarray) -> None:
    rng = np.random.default_rng(len(path.stem))
    textures = [_jpeg(rng.integers(0, 255, (16, 16, 3))), _jpeg(np.full((8, 32, 3), (250, 10, 10)))]
    positions, uv, triangles = _cube()
    arrays = {
        "positions": positions,
        "normals": np.zeros((24, 3), np.int8),
        "uv": uv,
        "lightmap_uv": np.zeros((24, 2), np.float32),
        "colour": np.full((24, 3), 255, np.uint8),
        "triangles": triangles,
        "material": np.repeat([0, 1, 0, 0, 0, 0], 2).astype(np.uint16),
        "transparent": np.zeros(12, bool),
        "textures_jpeg": np.concatenate(textures),
        "texture_offsets": np.cumsum([0, *(len(texture) for texture in textures)]).astype(np.int64),
        "texture_names": np.array(["noise", "red"]),
        "lightmap_jpeg": np.zeros(0, np.uint8),
        "camera_centres": rng.uniform(-0.5, 0.5, (4, 3)).astype(np.float32),
        "camera_view_hit": np.ones((4, 16), np.float16),
        "camera_view_depth": np.full((4, 16), _HALF, np.float16),
        "camera_view_detail": np.ones((4, 16), np.float16),
    }
    np.savez_compressed(path, allow_pickle=False, **{**arrays, **changes})


def _jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imencode(".jpg", image[..., ::-1].astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].ravel()


def _cube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of six faces; face 1 is at +x."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    positions, triangles = [], []
    for face, (axis, side) in enumerate([(0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1)]):
        points = np.insert(corners, axis, side, axis=1) * _HALF
        positions.append(points)
        triangles += [[4 * face, 4 * face + 1, 4 * face + 2], [4 * face, 4 * face + 2, 4 * face + 3]]
    uv = np.tile((corners + 1.0) / 2.0, (6, 1)).astype(np.float32)
    return np.concatenate(positions).astype(np.float32), uv, np.array(triangles, np.uint32)

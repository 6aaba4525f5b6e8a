from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from iup_pose_ros.training.synthetic.renderer import Renderer, RendererError

_HALF = 3.0
_POINTS = 60


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


@pytest.fixture(scope="session")
def write_photographs() -> Callable[..., None]:
    """Writes a scene of photographs with matches (``datasets.matched_scenes``), 60 in each pair."""
    return _write_photographs


_COLUMNS = [
    *("image0", "image1", "fx0", "fy0", "cx0", "cy0", "fx1", "fy1", "cx1", "cy1"),
    *(
        "width0",
        "height0",
        "width1",
        "height1",
        "qx",
        "qy",
        "qz",
        "qw",
        "tx",
        "ty",
        "tz",
        "overlap_hint",
        "metric",
    ),
]


def _write_photographs(folder: Path, pairs: int, size: tuple[int, int] = (120, 90), seed: int = 0) -> None:
    """A scene of pairs of dark images in which every matched point is a bright dot."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    K = np.array([[100.0, 0.0, 0.5 * size[0] - 0.5], [0.0, 102.0, 0.5 * size[1] - 0.5], [0.0, 0.0, 1.0]])
    rows, xy, depth = [], [], []
    for pair in range(pairs):
        rotation = Rotation.from_rotvec(rng.uniform(-0.05, 0.05, 3))
        t = rng.uniform(-0.2, 0.2, 3)
        points = rng.uniform([-0.9, -0.7, 2.0], [0.9, 0.7, 4.0], (_POINTS, 3)) * size[0] / 120.0
        for view, seen in enumerate((points, rotation.apply(points) + t)):
            pixels = (seen / seen[:, 2:]) @ K.T[:, :2]
            image = np.zeros((size[1], size[0]), np.float32)
            y, x = np.mgrid[: size[1], : size[0]]
            for u, v in pixels:
                image += np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / 1.5**2).astype(np.float32)
            cv2.imwrite(str(folder / f"{pair}_{view}.png"), np.clip(255.0 * image, 0.0, 255.0))
            xy.append(pixels)
            depth.append(seen[:, 2])
        camera = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
        names = [f"{pair}_0.png", f"{pair}_1.png"]
        rows.append([*names, *camera, *camera, *size, *size, *rotation.as_quat(), *t, 0.8, 0])
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([_COLUMNS, *rows])
    index = np.arange(pairs * 2 * _POINTS).reshape(pairs, 2, _POINTS)
    np.savez_compressed(
        folder / "matches.npz",
        xy=np.concatenate(xy).astype(np.float32),
        depth=np.concatenate(depth).astype(np.float32),
        pair_start=(np.arange(pairs + 1) * _POINTS).astype(np.int32),
        idx0=index[:, 0].ravel().astype(np.uint16),
        idx1=index[:, 1].ravel().astype(np.uint16),
    )

"""Reader of MegaDepth in the layout of D2-Net, which LoFTR and MegaDepth-1500 use, too.

A ``scene_info`` file (``0015_0.1_0.3.npz``) contains image_paths and depth_paths relative to the data set's
folder, intrinsics (3x3), poses (4x4, world to camera) and pair_infos ((i, j), overlap, ...).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.files import need, read_archive
from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

_ARRAYS = ("image_paths", "depth_paths", "intrinsics", "poses", "pair_infos")
# COLMAP's origin is the corner of the top-left pixel, ours is its centre.
_COLMAP_OFFSET = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def load_megadepth(
    root: Path, scene_info: Path, overlap: tuple[float, float] = (0.0, 1.0), with_depth: bool = True
) -> list[DataSetPair]:
    """Read the pairs of one scene_info file, or of all scene_info files in a folder.

    Args:
        root: folder to which paths in the files are relative (contains ``Undistorted_SfM`` or ``phoenix``).
        scene_info: .npz file or folder of .npz files.
        overlap: minimum and maximum overlap of a pair, according to the files.
        with_depth: whether to load depth with the images (needs h5py).

    Raises:
        DataError: a folder or file is missing or has an unexpected layout.
    """
    need(root, "the folder of MegaDepth's images")
    need(scene_info, "a scene_info file (.npz) or a folder of them")
    files = sorted(scene_info.glob("*.npz")) if scene_info.is_dir() else [scene_info]
    if not files:
        raise DataError(f"{scene_info} contains no scene_info file (*.npz)")
    return [pair for file in files for pair in load_scene(root, file, overlap, with_depth)]


def load_scene(root: Path, file: Path, overlap: tuple[float, float], with_depth: bool) -> list[DataSetPair]:
    """Read the pairs of one scene_info file; see ``load_megadepth``."""
    arrays = read_archive(file, _ARRAYS)
    pairs = []
    for info in arrays["pair_infos"]:
        first, second, share = _pair_info(file, info, len(arrays["image_paths"]))
        if not overlap[0] <= share <= overlap[1]:
            continue
        images = (
            _image(root, file, arrays, first, with_depth),
            _image(root, file, arrays, second, with_depth),
        )
        matrices = [np.asarray(arrays["poses"][index], dtype=np.float64) for index in (first, second)]
        for matrix in matrices:
            if matrix.shape != (4, 4):
                raise DataError(
                    f"{file}: a pose has shape {matrix.shape}; (4, 4) world to camera is expected"
                )
        T_0_world, T_1_world = (Pose(matrix[:3, :3], matrix[:3, 3]) for matrix in matrices)
        pairs.append(
            DataSetPair(images, T_1_world @ T_0_world.inverse(), metric=False, overlap=share, name=file.stem)
        )
    return pairs


def _pair_info(file: Path, info: Any, count: int) -> tuple[int, int, float]:
    try:
        (first, second), share = info[0], float(info[1])
        first, second = int(first), int(second)
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f"{file}: pair_infos holds {info!r}; ((i, j), overlap, ...) is expected") from error
    if not (0 <= first < count and 0 <= second < count):
        raise DataError(f"{file}: pair_infos names images {first} and {second}; there are {count}")
    return first, second, share


def _image(
    root: Path, file: Path, arrays: dict[str, NDArray[Any]], index: int, with_depth: bool
) -> DataSetImage:
    path, depth = arrays["image_paths"][index], arrays["depth_paths"][index]
    if path is None:
        raise DataError(f"{file}: pair_infos names image {index}, which has no path in image_paths")
    K = np.asarray(arrays["intrinsics"][index], dtype=np.float64)
    if K.shape != (3, 3):
        raise DataError(f"{file}: intrinsics of image {index} have shape {K.shape}; (3, 3) is expected")
    known = with_depth and depth is not None
    return DataSetImage(root / str(path), K - _COLMAP_OFFSET, depth=root / str(depth) if known else None)

"""ScanNet pairs in the layout of LoFTR's release (ScanNet-1500 and the training indices).

An index file (.npz) has the array ``name``, (N, 4): scene, scan, number of image 0 and of image 1 (and for
training ``score``, the overlap); ``intrinsics.npz`` has a 3x3 matrix per scan for images of 640 x 480. Below
the root lie ``scene0707_00/color/0.jpg``, ``depth/0.png`` (millimetres) and ``pose/0.txt`` (camera to world).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.files import need, read_archive, read_numbers
from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

SIZE = (640, 480)


def load_scannet(
    root: Path, index: Path, intrinsics: Path, least_overlap: float = 0.0, with_depth: bool = True
) -> list[DataSetPair]:
    """Pairs of an index file.

    Args:
        root: folder of the scans.
        index: .npz file with ``name`` (for ScanNet-1500: test.npz).
        intrinsics: .npz file with a matrix per scan.
        least_overlap: pairs with a lower score are left out, where the index has scores.
        with_depth: whether depth is read with the images.

    Raises:
        DataError: a folder or file is missing or has another layout, or an image has no pose.
    """
    need(root, "the folder of ScanNet's scans (scene0707_00, ...)")
    names = _names(index)
    scans = [f"scene{scene:04d}_{scan:02d}" for scene, scan in names[:, :2]]
    cameras = read_archive(intrinsics, sorted(set(scans)))
    chosen = np.arange(len(names))
    scores = _scores(index, len(names))
    if scores is not None:
        chosen = chosen[scores > least_overlap]
    pairs = []
    for i in chosen:
        folder = need(root / scans[i], "a scan with color, depth and pose")
        K = np.asarray(cameras[scans[i]], dtype=np.float64)[:3, :3]
        first, second = (int(number) for number in names[i, 2:])
        images = _image(folder, first, K, with_depth), _image(folder, second, K, with_depth)
        T_world_0, T_world_1 = (_pose(folder / "pose" / f"{number}.txt") for number in (first, second))
        overlap = float("nan") if scores is None else float(scores[i])
        pairs.append(
            DataSetPair(images, T_world_1.inverse() @ T_world_0, metric=True, overlap=overlap, name=scans[i])
        )
    return pairs


def _names(index: Path) -> NDArray[np.int64]:
    names = read_archive(index, ["name"])["name"]
    if names.ndim != 2 or names.shape[1] != 4:
        raise DataError(
            f"{index}: 'name' has shape {names.shape}; (N, 4) scene, scan, image 0, image 1 is expected"
        )
    return names.astype(np.int64)


def _scores(index: Path, count: int) -> NDArray[np.float64] | None:
    with np.load(index, allow_pickle=False) as archive:
        if "score" not in archive.files:
            return None
        scores = np.asarray(archive["score"], dtype=np.float64)
    if scores.shape != (count,):
        raise DataError(f"{index}: 'score' has shape {scores.shape}; ({count},) is expected")
    return scores


def _image(folder: Path, number: int, K: NDArray[np.float64], with_depth: bool) -> DataSetImage:
    depth = folder / "depth" / f"{number}.png" if with_depth else None
    return DataSetImage(folder / "color" / f"{number}.jpg", K, SIZE, depth=depth, depth_unit=0.001)


def _pose(path: Path) -> Pose:
    matrix = read_numbers(path, ["four", "columns", "of", "T_world_camera"])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(
            f"{path}: {len(matrix)} rows or values that are not finite; 4x4 camera to world is expected"
        )
    return Pose(matrix[:3, :3], matrix[:3, 3])

"""Reader of ScanNet pairs in LoFTR's layout (ScanNet-1500 and the training indices).

An index file (.npz) contains the array ``name`` (N, 4): scene, scan, number of image 0, number of image 1;
for training also ``score`` (N,), the overlap. ``intrinsics.npz`` contains a 3x3 matrix per scan, for images
of 640 x 480. The root folder contains ``scene0707_00/color/0.jpg``, ``depth/0.png`` (millimetres) and
``pose/0.txt`` (camera to world).
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
    root: Path, index: Path, intrinsics: Path, min_overlap: float = 0.0, with_depth: bool = True
) -> list[DataSetPair]:
    """Read the pairs of an index file.

    Args:
        root: folder with the scans.
        index: .npz file with ``name`` (for ScanNet-1500: test.npz).
        intrinsics: .npz file with one camera matrix per scan.
        min_overlap: minimum score of a pair, if the index contains scores.
        with_depth: whether to load depth with the images.

    Raises:
        DataError: a folder or file is missing or has an unexpected layout, or an image has no pose.
    """
    need(root, "the folder of ScanNet's scans (scene0707_00, ...)")
    names, scores = read_index(index)
    scans = [f"scene{scene:04d}_{scan:02d}" for scene, scan in names[:, :2]]
    cameras = read_archive(intrinsics, sorted(set(scans)))
    selected = np.arange(len(names)) if scores is None else np.flatnonzero(scores > min_overlap)
    pairs = []
    for i in selected:
        folder = need(root / scans[i], "a scan with color, depth and pose")
        K = np.asarray(cameras[scans[i]], dtype=np.float64)[:3, :3]
        first, second = (int(number) for number in names[i, 2:])
        images = _image(folder, first, K, with_depth), _image(folder, second, K, with_depth)
        poses = []
        for number in (first, second):
            path = folder / "pose" / f"{number}.txt"
            matrix = read_numbers(path, ["four", "columns", "of", "T_world_camera"])
            if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
                raise DataError(
                    f"{path}: {len(matrix)} rows or values that are not finite; "
                    "4x4 camera to world is expected"
                )
            poses.append(Pose(matrix[:3, :3], matrix[:3, 3]))
        T_world_0, T_world_1 = poses
        overlap = float("nan") if scores is None else float(scores[i])
        pairs.append(
            DataSetPair(images, T_world_1.inverse() @ T_world_0, metric=True, overlap=overlap, name=scans[i])
        )
    return pairs


def read_index(index: Path) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Read the names (N, 4) and, if present, the scores (N,) of an index file.

    Raises:
        DataError: the file is missing, lacks ``name``, or an array has an unexpected shape.
    """
    names = read_archive(index, ["name"])["name"]
    if names.ndim != 2 or names.shape[1] != 4:
        raise DataError(
            f"{index}: 'name' has shape {names.shape}; (N, 4) scene, scan, image 0, image 1 is expected"
        )
    with np.load(index, allow_pickle=False) as archive:
        if "score" not in archive.files:
            return names.astype(np.int64), None
        scores = np.asarray(archive["score"], dtype=np.float64)
    if scores.shape != (len(names),):
        raise DataError(f"{index}: 'score' has shape {scores.shape}; ({len(names)},) is expected")
    return names.astype(np.int64), scores


def _image(folder: Path, number: int, K: NDArray[np.float64], with_depth: bool) -> DataSetImage:
    depth = folder / "depth" / f"{number}.png" if with_depth else None
    return DataSetImage(folder / "color" / f"{number}.jpg", K, SIZE, depth=depth, depth_unit=0.001)

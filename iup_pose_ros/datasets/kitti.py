"""Reader of KITTI odometry: sequences/00/{image_2, calib.txt, times.txt} and poses/00.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.files import need, read_numbers, read_table
from iup_pose_ros.datasets.image_pair import DataSetImage
from iup_pose_ros.datasets.sequence_pairs import PosedImage
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

_ROW = tuple(f"m{row}{column}" for row in range(3) for column in range(4))


def load_kitti(root: Path, sequence: str, camera: int = 2) -> list[PosedImage]:
    """Read the images of a sequence with ground truth ("00" to "10"), in temporal order.

    Args:
        root: folder that contains ``sequences`` and ``poses``.
        sequence: two digits.
        camera: 0 to 3; ground-truth poses, which are those of camera 0, are transformed to this camera.

    Raises:
        DataError: a file is missing or has an unexpected layout.
    """
    folder = need(root / "sequences" / sequence, f"sequence {sequence} of KITTI odometry")
    K, T_0_camera = read_calibration(folder / "calib.txt", camera)
    stamps = read_numbers(folder / "times.txt", ("seconds",))[:, 0]
    matrices = read_numbers(root / "poses" / f"{sequence}.txt", _ROW).reshape(-1, 3, 4)
    images = sorted(need(folder / f"image_{camera}", "a folder of images").glob("*.png"))
    if not len(images) == len(stamps) == len(matrices):
        raise DataError(
            f"{folder}: {len(images)} images, {len(stamps)} times and {len(matrices)} poses; "
            "equal numbers are expected"
        )
    return [
        PosedImage(DataSetImage(path, K), float(stamp), Pose(matrix[:, :3], matrix[:, 3]) @ T_0_camera)
        for path, stamp, matrix in zip(images, stamps, matrices, strict=True)
    ]


def read_calibration(path: Path, camera: int) -> tuple[NDArray[np.float64], Pose]:
    """Read K (3, 3) and T_0_camera of a rectified camera from its projection matrix P = K [I | t].

    Raises:
        DataError: the file is missing or has no valid row for the camera.
    """
    rows = {row[0].rstrip(":"): row[1:] for row in read_table(path, ("name:", *_ROW))}
    if f"P{camera}" not in rows:
        raise DataError(f"{path} has no row P{camera}; it has {', '.join(rows)}")
    try:
        projection = np.array([float(value) for value in rows[f"P{camera}"][:12]]).reshape(3, 4)
    except ValueError as error:
        raise DataError(f"{path}: row P{camera}: {error}; 12 numbers are expected") from error
    K = projection[:, :3].copy()
    return K, Pose(np.eye(3), -np.linalg.solve(K, projection[:, 3]))

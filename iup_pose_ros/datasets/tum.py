"""Reader of TUM RGB-D sequences: folders rgb and depth with rgb.txt, depth.txt and groundtruth.txt."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from iup_pose_ros.datasets.files import read_numbers, read_table
from iup_pose_ros.datasets.image_pair import DataSetImage
from iup_pose_ros.datasets.sequence_pairs import PosedImage
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.interpolation import interpolated_poses

_DEPTH_UNIT = 1.0 / 5000.0
_MAX_DEPTH_DELAY = 0.02  # maximum time between a colour image and its depth image, seconds
_SIZE = (640, 480)
# Published calibrations of the colour cameras: fx, fy, cx, cy and OpenCV's k1, k2, p1, p2, k3.
_CAMERAS = {
    1: ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    2: ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    3: ((535.4, 539.2, 320.1, 247.6), ()),
}


def load_tum(folder: Path, camera: int | None = None) -> list[PosedImage]:
    """Read the images that have ground-truth poses, in temporal order.

    Depth is available only for freiburg3, whose images are undistorted.

    Args:
        folder: for example ``rgbd_dataset_freiburg3_long_office_household``.
        camera: number of the camera: 1, 2 or 3; None: from the folder name.

    Raises:
        DataError: a file is missing or has an unexpected layout, or the camera is unknown.
    """
    if camera is None:
        found = re.search(r"freiburg(\d)", folder.name)
        camera = int(found[1]) if found else None
    if camera not in _CAMERAS:
        raise DataError(
            f"the camera of {folder} is unknown: its name has no freiburg1, freiburg2 or freiburg3"
        )
    (fx, fy, cx, cy), distortion = _CAMERAS[camera]
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    colour, stamps = _listing(folder / "rgb.txt")
    depths: list[Path | None] = [None] * len(stamps)
    if not distortion:
        paths, times = _listing(folder / "depth.txt")
        nearest = np.abs(times[None] - stamps[:, None]).argmin(axis=1)
        near = np.abs(times[nearest] - stamps) <= _MAX_DEPTH_DELAY
        depths = [paths[i] if is_near else None for i, is_near in zip(nearest, near, strict=True)]
    columns = ("timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw")
    truth = read_numbers(folder / "groundtruth.txt", columns)
    poses = interpolated_poses(truth[:, 0], Rotation.from_quat(truth[:, 4:]), truth[:, 1:4], stamps)
    return [
        PosedImage(
            DataSetImage(path, K, _SIZE, distortion, "plumb_bob", depth, _DEPTH_UNIT), float(stamp), pose
        )
        for path, depth, stamp, pose in zip(colour, depths, stamps, poses, strict=True)
        if pose is not None
    ]


def _listing(path: Path) -> tuple[list[Path], NDArray[np.float64]]:
    rows = read_table(path, ("timestamp", "filename"))
    try:
        stamps = np.array([float(row[0]) for row in rows])
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected: timestamp filename") from error
    return [path.parent / row[1] for row in rows], stamps

"""Reader of EuRoC MAV sequences (ASL layout): mav0/cam0 and mav0/state_groundtruth_estimate0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from iup_pose_ros.datasets.files import need, read_numbers, read_table
from iup_pose_ros.datasets.image_pair import DataSetImage
from iup_pose_ros.datasets.sequence_pairs import PosedImage
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.interpolation import interpolated_poses
from iup_pose_ros.geometry.pose import Pose

_NANOSECONDS = 1e9
_STATE = ("timestamp", "px", "py", "pz", "qw", "qx", "qy", "qz")


def load_euroc(folder: Path, camera: int = 0) -> list[PosedImage]:
    """Read the images that have ground-truth poses, in temporal order.

    Args:
        folder: folder that contains ``mav0``, or ``mav0`` itself.
        camera: 0 or 1.

    Raises:
        DataError: a file is missing or has an unexpected layout.
    """
    mav = folder / "mav0" if (folder / "mav0").is_dir() else folder
    sensor = need(mav / f"cam{camera}", "a camera with data.csv, data and sensor.yaml")
    K, size, distortion, T_body_camera = read_sensor(sensor / "sensor.yaml")
    rows = read_table(sensor / "data.csv", ("timestamp", "filename"), ",")
    # Nanoseconds since 1970 exceed the precision of a float; nanoseconds since the first image do not.
    origin = _nanoseconds(sensor / "data.csv", rows[0][0])
    stamps = np.array([_nanoseconds(sensor / "data.csv", row[0]) - origin for row in rows]) / _NANOSECONDS
    states = mav / "state_groundtruth_estimate0" / "data.csv"
    times = [_nanoseconds(states, row[0]) - origin for row in read_table(states, _STATE, ",")]
    state = read_numbers(states, _STATE, ",")
    rotations = Rotation.from_quat(state[:, [5, 6, 7, 4]])
    poses = interpolated_poses(np.array(times) / _NANOSECONDS, rotations, state[:, 1:4], stamps)
    return [
        PosedImage(
            DataSetImage(sensor / "data" / row[1], K, size, distortion, "plumb_bob"),
            float(stamp),
            pose @ T_body_camera,
        )
        for row, stamp, pose in zip(rows, stamps, poses, strict=True)
        if pose is not None
    ]


def _nanoseconds(path: Path, text: str) -> int:
    if not text.isdigit():
        raise DataError(f"{path}: time stamp {text!r} is not an integer number of nanoseconds")
    return int(text)


def read_sensor(path: Path) -> tuple[NDArray[np.float64], tuple[int, int], tuple[float, ...], Pose]:
    """Read K (3, 3), image size (width, height), distortion and T_body_camera from a sensor.yaml.

    Raises:
        DataError: the file is missing, lacks a value or has another distortion model.
    """
    content: Any = yaml.safe_load(need(path, "the calibration of the camera").read_text(encoding="utf-8-sig"))
    try:
        model = content["distortion_model"]
        if model not in ("radial-tangential", "radtan"):
            raise DataError(f"{path}: distortion_model {model!r}; radial-tangential is expected")
        fx, fy, cx, cy = (float(value) for value in content["intrinsics"])
        width, height = (int(value) for value in content["resolution"])
        distortion = tuple(float(value) for value in content["distortion_coefficients"])
        matrix = np.array(content["T_BS"]["data"], dtype=np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: {error!r}; expected are intrinsics (4), resolution (2), distortion_model, "
            "distortion_coefficients and T_BS (data of 16 numbers)"
        ) from error
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return K, (width, height), distortion, Pose(matrix[:3, :3], matrix[:3, 3])

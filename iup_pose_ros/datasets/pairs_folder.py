"""Reader of folders with images and a ``pairs.csv``, this project's own layout for image pairs.

Columns: image0, image1 (files in the folder), fx0 fy0 cx0 cy0 and fx1 fy1 cx1 cy1 (pixels, origin at the
centre of the top-left pixel), qx qy qz qw and tx ty tz of T_1_0 (X_1 = R X_0 + t, optical frames).
Optional columns: width0 height0 and width1 height1 (size of the image for which the intrinsics are valid;
for a smaller file they are scaled), overlap_hint (-1: unknown), metric (1: t is in metres).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from iup_pose_ros.datasets.files import need
from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

_QUATERNION, _TRANSLATION = ("qx", "qy", "qz", "qw"), ("tx", "ty", "tz")
_CAMERAS = tuple(tuple(f"{name}{view}" for name in ("fx", "fy", "cx", "cy")) for view in range(2))
_NEEDED = ("image0", "image1", *_CAMERAS[0], *_CAMERAS[1], *_QUATERNION, *_TRANSLATION)
_NORM_TOLERANCE = 0.01


def load_pairs_folder(folder: Path) -> list[DataSetPair]:
    """Read the pairs of a folder, in the order of the file.

    Raises:
        DataError: pairs.csv is missing or empty, lacks columns, or contains an invalid value.
    """
    file = need(folder / "pairs.csv", "a table of image pairs")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{file} lacks the columns {', '.join(missing)}; it has {reader.fieldnames}")
            pairs = [_pair(folder, f"{file}, line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a readable table of comma-separated text: {error}") from error
    if not pairs:
        raise DataError(f"{file} has no pair")
    return pairs


def _pair(folder: Path, where: str, row: Mapping[str, str]) -> DataSetPair:
    quaternion = np.array([_number(row, name, where) for name in _QUATERNION])
    if abs(np.linalg.norm(quaternion) - 1.0) > _NORM_TOLERANCE:
        raise DataError(f"{where}: (qx, qy, qz, qw) = {quaternion.tolist()} is not of unit length")
    translation = np.array([_number(row, name, where) for name in _TRANSLATION])
    overlap = _number(row, "overlap_hint", where) if row.get("overlap_hint") else -1.0
    return DataSetPair(
        images=(_image(folder, where, row, 0), _image(folder, where, row, 1)),
        T_1_0=Pose.from_quaternion(quaternion, translation),
        metric=bool(row.get("metric")) and _number(row, "metric", where) == 1.0,
        overlap=overlap if overlap >= 0.0 else math.nan,
        name=folder.name,
    )


def _image(folder: Path, where: str, row: Mapping[str, str], view: int) -> DataSetImage:
    fx, fy, cx, cy = (_number(row, name, where) for name in _CAMERAS[view])
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    size = None
    if row.get(f"width{view}") and row.get(f"height{view}"):
        width, height = (_number(row, f"{side}{view}", where) for side in ("width", "height"))
        if min(width, height) < 1.0 or width % 1.0 or height % 1.0:
            raise DataError(f"{where}: width{view}, height{view} = {width:g}, {height:g}; pixels are needed")
        size = (int(width), int(height))
    return DataSetImage(folder / row[f"image{view}"], K, size)


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {name} is {row[name]!r}; a number is needed") from error
    if not math.isfinite(value):
        raise DataError(f"{where}: {name} is {row[name]!r}; a finite number is needed")
    return value

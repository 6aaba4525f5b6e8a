"""Trajectories as TUM files: a line ``stamp tx ty tz qx qy qz qw`` per pose, ``#`` starts a comment.

Format: TUM RGB-D benchmark, https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.trajectory import Trajectory
from iup_pose_ros.geometry.so3 import Array

_COLUMNS = ("timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw")
_NORM_TOLERANCE = 0.01  # files carry as few as four decimals


def read_tum(path: Path | str) -> Trajectory:
    """The trajectory in a TUM file.

    Raises:
        DataError: the file is missing, is not text or holds no pose; a line has not eight finite numbers, its
            quaternion is not of unit length, or its stamp does not increase. The message names the line.
    """
    path = Path(path)
    numbers: list[int] = []
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path), start=1):
        content = line.split("#", 1)[0].replace(",", " ").split()
        if content:
            numbers.append(number)
            rows.append(_row(path, number, content))
    if not rows:
        raise DataError(f"{path} holds no pose; lines of {' '.join(_COLUMNS)} are expected")
    table = np.array(rows)
    _check(path, numbers, table)
    rotations = Rotation.from_quat(table[:, 4:]).as_matrix()
    return Trajectory(table[:, 0].copy(), rotations, table[:, 1:4].copy())


def write_tum(path: Path | str, trajectory: Trajectory, comment: str = "") -> None:
    """Write a trajectory; ``comment`` (one line) says what it is, for example the frames.

    Raises:
        DataError: the file cannot be written.
    """
    quaternions = Rotation.from_matrix(trajectory.rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
    lines = [f"# {' '.join(_COLUMNS)}" + (f"  ({comment})" if comment else "")]
    for stamp, position, quaternion in zip(trajectory.stamps, trajectory.positions, quaternions, strict=True):
        values = " ".join(f"{value:.9f}" for value in (*position, *quaternion))
        lines.append(f"{stamp:.9f} {values}")
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"trajectory file {path} cannot be written: {error.strerror}") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"trajectory file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"trajectory file {path} is not a text file; a TUM file is expected") from error


def _row(path: Path, number: int, content: list[str]) -> list[float]:
    expected = f"{len(_COLUMNS)} are needed: {' '.join(_COLUMNS)}"
    if len(content) != len(_COLUMNS):
        raise DataError(f"{path}, line {number}: {len(content)} columns; {expected}")
    try:
        return [float(value) for value in content]
    except ValueError as error:
        raise DataError(
            f"{path}, line {number}: {error}; numbers are needed: {' '.join(_COLUMNS)}"
        ) from error


def _check(path: Path, numbers: list[int], table: Array) -> None:
    """Refuses values that are not finite, quaternions of another length than 1 and stamps that go back."""
    finite = np.isfinite(table).all(axis=1)
    norms = np.linalg.norm(table[:, 4:], axis=1)
    increasing = np.diff(table[:, 0], prepend=-np.inf) > 0.0
    if not finite.all():
        raise DataError(f"{path}, line {numbers[int(finite.argmin())]}: a value is not finite")
    unit = np.abs(norms - 1.0) <= _NORM_TOLERANCE
    if not unit.all():
        index = int(unit.argmin())
        raise DataError(
            f"{path}, line {numbers[index]}: quaternion of length {norms[index]:.4f}; "
            "unit quaternions in the order qx qy qz qw are needed"
        )
    if not increasing.all():
        index = int(increasing.argmin())
        raise DataError(
            f"{path}, line {numbers[index]}: stamp {table[index, 0]:.9f} does not follow "
            f"{table[index - 1, 0]:.9f}; stamps must increase"
        )

"""Reading and writing of trajectory files, TUM and KITTI: one line per pose; ``#`` starts a comment.

TUM: ``stamp tx ty tz qx qy qz qw``, https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
KITTI: the 12 numbers of the matrix [R t], row by row; pose number k belongs to image number k.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.atomic import atomic_file
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.so3 import Array, project_to_so3
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.message_poses import QUATERNION_TOLERANCE

_COLUMNS = ("timestamp", "tx", "ty", "tz", "qx", "qy", "qz", "qw")
_KITTI_COLUMNS = 12
_NORM_TOLERANCE = QUATERNION_TOLERANCE
_EUROC_COLUMNS = 17
# Later than the year 5000: stamps in milli-, micro- or nanoseconds.
_LAST_SECOND = 1e11


def read_tum(path: Path | str) -> Trajectory:
    """Read a TUM file; of several poses with the same stamp the first is used.

    Raises:
        DataError: as ``read_tum_and_repeats``.
    """
    return read_tum_and_repeats(path)[0]


def read_tum_and_repeats(path: Path | str) -> tuple[Trajectory, int]:
    """Read a TUM file; also return how many poses were omitted because they repeat the previous stamp.

    The published ground truths of TUM RGB-D and EuRoC contain such repeated stamps.

    Raises:
        DataError: the file is missing, is not text or holds no pose; a line does not have eight finite
            numbers, its quaternion is not of unit length, or its stamp decreases. The message names the line.
    """
    path = Path(path)
    numbers, rows = _rows(path, len(_COLUMNS), " ".join(_COLUMNS))
    table = np.array(rows)
    _check_tum(path, numbers, table)
    kept = table[np.diff(table[:, 0], prepend=-np.inf) > 0.0]
    rotations = Rotation.from_quat(kept[:, 4:]).as_matrix()
    return Trajectory(kept[:, 0].copy(), rotations, kept[:, 1:4].copy()), len(table) - len(kept)


def read_kitti(path: Path | str, stamps: Sequence[float]) -> Trajectory:
    """Read a KITTI file.

    Args:
        path: the file.
        stamps: stamps of the images, seconds; the file has one pose for each of them.

    Raises:
        DataError: the file is missing, is not text or has another number of poses; a line does not have
            twelve finite numbers, or they are not a rigid motion. The message names the line.
    """
    path = Path(path)
    numbers, rows = _rows(path, _KITTI_COLUMNS, "the matrix [R t] row by row")
    if len(rows) != len(stamps):
        raise DataError(
            f"{path} has {len(rows)} poses for {len(stamps)} images; a KITTI file has one pose per image"
        )
    matrices = np.array(rows).reshape(-1, 3, 4)
    if not np.isfinite(matrices).all():
        raise DataError(f"{path} holds a value that is not finite")
    rotations = matrices[:, :, :3]
    deviations = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    wrong = (deviations > _NORM_TOLERANCE) | (np.linalg.det(rotations) < 0.0)
    if wrong.any():
        raise DataError(f"{path}, line {numbers[int(wrong.argmax())]}: R of [R t] is not a rotation")
    return Trajectory(
        np.asarray(stamps, dtype=np.float64), project_to_so3(rotations), matrices[:, :, 3].copy()
    )


def is_kitti(path: Path | str) -> bool:
    """Return whether the first pose of a trajectory file has the 12 columns of KITTI.

    Raises:
        DataError: the file is missing or is not text.
    """
    path = Path(path)
    return next((len(content) == _KITTI_COLUMNS for _, content in _contents(path)), False)


def write_tum(path: Path | str, trajectory: Trajectory, comment: str = "") -> None:
    """Write a trajectory as a TUM file; ``comment`` (one line) describes it, for example the frames.

    Raises:
        DataError: the file cannot be written.
    """
    quaternions = Rotation.from_matrix(trajectory.rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
    stamps = [f"{stamp:.9f}" for stamp in trajectory.stamps]
    write_tum_rows(path, stamps, np.hstack([trajectory.positions, quaternions]), comment)


def write_tum_rows(path: Path | str, stamps: Sequence[str], poses: Array, comment: str = "") -> None:
    """Write a TUM file atomically.

    Args:
        path: the file.
        stamps: seconds as decimal text, so that they are exact.
        poses: (N, 7) position and quaternion (x, y, z, w).
        comment: one line that describes it.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    lines = [f"# {' '.join(_COLUMNS)}" + (f"  ({comment})" if comment else "")]
    for stamp, pose in zip(stamps, poses, strict=True):
        lines.append(f"{stamp} " + " ".join(f"{value:.9f}" for value in pose))
    try:
        with atomic_file(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"trajectory file {path} cannot be written: {error.strerror}") from error


def _contents(path: Path) -> list[tuple[int, list[str]]]:
    """Return the number and columns of every line that is not empty, a comment or the header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"trajectory file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"trajectory file {path} is not a text file; a TUM file is expected") from error
    split = (line.split("#", 1)[0].replace(",", " ").split() for line in lines)
    contents = [(number, content) for number, content in enumerate(split, start=1) if content]
    has_header = bool(contents) and contents[0][1][0][0] not in "+-.0123456789"
    return contents[1:] if has_header else contents


def _rows(path: Path, columns: int, meaning: str) -> tuple[list[int], list[list[float]]]:
    """Return the line numbers and values of all poses."""
    contents = _contents(path)
    if not contents:
        raise DataError(f"{path} holds no pose; lines of {meaning} are expected")
    rows: list[list[float]] = []
    for number, content in contents:
        if len(content) != columns:
            found = f"{len(content)} columns; {columns} are required"
            if len(content) == _EUROC_COLUMNS:
                found = f"{_EUROC_COLUMNS} columns, as EuRoC has them: `evo_traj euroc {path} --save_as_tum`"
            raise DataError(f"{path}, line {number}: {found}: {meaning}")
        try:
            rows.append([float(value) for value in content])
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}; numbers are required: {meaning}") from error
    return [number for number, _ in contents], rows


def _check_tum(path: Path, numbers: list[int], table: Array) -> None:
    """Raise DataError for values that are not finite, non-unit quaternions or decreasing stamps."""
    finite = np.isfinite(table).all(axis=1)
    norms = np.linalg.norm(table[:, 4:], axis=1)
    increasing = np.diff(table[:, 0], prepend=-np.inf) >= 0.0
    if table[0, 0] > _LAST_SECOND:
        raise DataError(f"{path}, line {numbers[0]}: stamp {table[0, 0]:.0f}; stamps are in seconds")
    if not finite.all():
        raise DataError(f"{path}, line {numbers[int(finite.argmin())]}: a value is not finite")
    unit = np.abs(norms - 1.0) <= _NORM_TOLERANCE
    if not unit.all():
        index = int(unit.argmin())
        raise DataError(
            f"{path}, line {numbers[index]}: quaternion of length {norms[index]:.4f}; "
            "unit quaternions in the order qx qy qz qw are required"
        )
    if not increasing.all():
        index = int(increasing.argmin())
        raise DataError(
            f"{path}, line {numbers[index]}: stamp {table[index, 0]:.9f} does not follow "
            f"{table[index - 1, 0]:.9f}; stamps must not decrease"
        )

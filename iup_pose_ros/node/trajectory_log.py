"""Storage of the published trajectory and its TUM file; without ROS."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.bags.trajectory_io import write_tum_rows
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.stamps import decimal_seconds

DEFAULT_FILE = "trajectory.tum"
# Poses are stored in blocks, 64 bytes each. The maximum of 400,000 takes 26 MB and is reached after nearly
# four hours at 30 images per second.
_POSE = np.dtype([("stamp", np.int64), ("pose", np.float64, 7)])
_BLOCK = 1_000  # poses
_MAX_BLOCKS = 400


@dataclass(frozen=True)
class SavedTrajectory:
    """The file that was written, the number of its poses, and a message."""

    path: Path
    poses: int
    message: str


class TrajectoryLog:
    """Poses of the base while it moved; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: deque[NDArray[np.void]] = deque(maxlen=_MAX_BLOCKS)
        self._in_last_block = _BLOCK

    def add(self, stamp: int, T_odom_base: Pose) -> None:
        """Append a pose; stamp in nanoseconds. Of too many, the oldest are removed."""
        row = np.concatenate([T_odom_base.translation, T_odom_base.quaternion])
        with self._lock:
            if self._in_last_block == _BLOCK:
                self._blocks.append(np.empty(_BLOCK, dtype=_POSE))
                self._in_last_block = 0
            self._blocks[-1][self._in_last_block] = (stamp, row)
            self._in_last_block += 1

    def clear(self) -> None:
        """Remove all poses."""
        with self._lock:
            self._blocks.clear()
            self._in_last_block = _BLOCK

    def save(self, directory: str, filename: str, frames: str) -> SavedTrajectory:
        """Write a TUM file into the directory atomically.

        Stamps of a TUM file increase: of a bag played in a loop the file holds the last round.

        Args:
            directory: folder, created if needed; ``~`` is the user's home.
            filename: relative to the directory; empty: trajectory.tum.
            frames: frames of the poses, for the comment in the first line.

        Raises:
            DataError: there is no pose, the file would be outside the directory, or it cannot be written.
        """
        poses = self._poses()
        if len(poses) == 0:
            raise DataError("no pose yet: no file was written")
        path = file_inside(directory, filename or DEFAULT_FILE)
        jumps = np.flatnonzero(np.diff(poses["stamp"]) <= 0)
        last_round = poses[jumps[-1] + 1 :] if len(jumps) else poses
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {path.parent} cannot be written: {error.strerror}") from error
        stamps = [decimal_seconds(stamp) for stamp in last_round["stamp"].tolist()]
        write_tum_rows(path, stamps, last_round["pose"], frames)
        omitted = len(poses) - len(last_round)
        note = f"; {omitted} from before a jump back in time are omitted" if omitted else ""
        return SavedTrajectory(path, len(last_round), f"wrote {len(last_round)} poses to {path}{note}")

    def _poses(self) -> NDArray[np.void]:
        """Return a copy of all poses, the oldest first."""
        with self._lock:
            unused = _BLOCK - self._in_last_block
            poses = np.concatenate([np.empty(0, dtype=_POSE), *self._blocks])
        return poses[: len(poses) - unused]


def file_inside(directory: str, filename: str) -> Path:
    """Return the absolute path of a file inside the directory, with links resolved.

    Raises:
        DataError: the file would be outside the directory.
    """
    if "\0" in filename:
        raise DataError("the file name contains a null character")
    try:
        root = Path(directory).expanduser().resolve()
        path = (root / filename).resolve()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{filename!r} in output_directory {directory!r} is not a path: {error}") from error
    if root not in path.parents:
        raise DataError(
            f"{filename!r} is outside output_directory {str(root)!r}; a name relative to it is accepted"
        )
    if is_folder:
        raise DataError(f"{str(path)!r} is a folder; a file name is required")
    return path

"""Storage of the published trajectory and its TUM file; without ROS."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from iup_pose_ros.bags.trajectory_io import write_tum_rows
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.stamps import decimal_seconds

DEFAULT_FILE = "trajectory.tum"
# Nearly four hours at 30 images per second, about 100 MB.
_MAX_POSES = 400_000


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
        self._poses: deque[tuple[int, Array]] = deque(maxlen=_MAX_POSES)

    def __len__(self) -> int:
        return len(self._poses)

    def add(self, stamp: int, T_odom_base: Pose) -> None:
        """Append a pose; stamp in nanoseconds."""
        row = np.concatenate([T_odom_base.translation, T_odom_base.quaternion])
        with self._lock:
            self._poses.append((stamp, row))

    def clear(self) -> None:
        """Remove all poses."""
        with self._lock:
            self._poses.clear()

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
        with self._lock:
            poses = list(self._poses)
        if not poses:
            raise DataError("no pose yet: no file was written")
        path = file_inside(directory, filename or DEFAULT_FILE)
        starts = [
            index for index, (before, after) in enumerate(pairwise(poses), start=1) if after[0] <= before[0]
        ]
        last_round = poses[starts[-1] :] if starts else poses
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"folder {path.parent} cannot be written: {error.strerror}") from error
        stamps = [decimal_seconds(stamp) for stamp, _ in last_round]
        write_tum_rows(path, stamps, np.array([row for _, row in last_round]), frames)
        omitted = len(poses) - len(last_round)
        note = f"; {omitted} from before a jump back in time are omitted" if omitted else ""
        return SavedTrajectory(path, len(last_round), f"wrote {len(last_round)} poses to {path}{note}")


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

"""Interpolation of recorded poses at other times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose


def interpolated_poses(
    stamps: NDArray[np.float64],
    rotations: Rotation,
    positions: NDArray[np.float64],
    wanted: NDArray[np.float64],
    largest_gap: float = 0.1,
) -> list[Pose | None]:
    """Poses at the wanted times, None where the recorded ones leave a gap of more seconds.

    Args:
        stamps: (N,) increasing, seconds.
        rotations, positions: N poses.
        wanted: (M,) seconds.

    Raises:
        DataError: fewer than two poses, or stamps that do not increase.
    """
    if len(stamps) < 2 or (np.diff(stamps) <= 0.0).any():
        raise DataError("a trajectory needs at least two poses with increasing time stamps")
    after = np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
    covered = (wanted >= stamps[0]) & (wanted <= stamps[-1])
    covered &= stamps[after] - stamps[after - 1] <= largest_gap
    inside = np.clip(wanted, stamps[0], stamps[-1])
    matrices = Slerp(stamps, rotations)(inside).as_matrix()
    places = np.stack([np.interp(inside, stamps, positions[:, i]) for i in range(3)], axis=1)
    return [
        Pose(matrix, place) if known else None
        for matrix, place, known in zip(matrices, places, covered, strict=True)
    ]

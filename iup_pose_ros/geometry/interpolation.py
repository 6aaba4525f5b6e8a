"""Interpolation of poses over time."""

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
    max_gap: float = 0.1,
) -> list[Pose | None]:
    """Interpolate poses: positions linearly, rotations by spherical linear interpolation.

    Args:
        stamps: (N,) increasing, seconds.
        rotations: N rotations R_world_body.
        positions: (N, 3).
        wanted: (M,) stamps at which to interpolate, seconds.
        max_gap: maximum time between two recorded poses, seconds.

    Returns:
        M poses; None outside the recorded time and in gaps of more than ``max_gap``.

    Raises:
        DataError: there are fewer than two poses, or the stamps do not increase.
    """
    if len(stamps) < 2 or (np.diff(stamps) <= 0.0).any():
        raise DataError("a trajectory needs at least two poses with increasing time stamps")
    after = np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
    covered = (wanted >= stamps[0]) & (wanted <= stamps[-1])
    covered &= stamps[after] - stamps[after - 1] <= max_gap
    inside = np.clip(wanted, stamps[0], stamps[-1])
    matrices = Slerp(stamps, rotations)(inside).as_matrix()
    translations = np.stack([np.interp(inside, stamps, positions[:, i]) for i in range(3)], axis=1)
    return [
        Pose(matrix, translation) if valid else None
        for matrix, translation, valid in zip(matrices, translations, covered, strict=True)
    ]

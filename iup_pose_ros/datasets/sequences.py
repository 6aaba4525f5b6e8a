"""Pairs of images of a moving camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from iup_pose_ros.datasets.images import DataSetImage, DataSetPair
from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image of a sequence, its time (seconds) and T_world_camera of its optical frame (metres)."""

    image: DataSetImage
    stamp: float
    T_world_camera: Pose


@dataclass(frozen=True)
class PairSelection:
    """Which images of a sequence make a pair.

    Attributes:
        gaps: differences of their positions in the sequence.
        greatest_rotation: between both cameras, degrees.
        least_baseline: metres; 0 keeps images of a camera at rest.
    """

    gaps: tuple[int, ...] = (1, 3, 8, 20)
    greatest_rotation: float = 45.0
    least_baseline: float = 0.0

    def __post_init__(self) -> None:
        if not self.gaps or min(self.gaps) < 1:
            raise ConfigurationError(f"gaps {self.gaps} must be one or more positive numbers")


def sequence_pairs(
    sequence: Sequence[PosedImage], selection: PairSelection | None = None, name: str = ""
) -> list[DataSetPair]:
    """The pairs of a sequence, the earlier image first."""
    selection = PairSelection() if selection is None else selection
    pairs = []
    for gap in selection.gaps:
        for first, second in zip(sequence, sequence[gap:], strict=False):
            T_1_0 = second.T_world_camera.inverse() @ first.T_world_camera
            angle = math.degrees(float(np.linalg.norm(so3.log(T_1_0.rotation))))
            far = float(np.linalg.norm(T_1_0.translation)) >= selection.least_baseline
            if angle <= selection.greatest_rotation and far:
                pairs.append(DataSetPair((first.image, second.image), T_1_0, metric=True, name=name))
    return pairs


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

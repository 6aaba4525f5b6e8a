"""Pairs of images of a moving camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import ConfigurationError
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

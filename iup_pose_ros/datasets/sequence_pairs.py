"""Selection of image pairs from a sequence."""

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
    """An image of a sequence, its stamp (seconds) and the pose of its optical frame (metres)."""

    image: DataSetImage
    stamp: float
    T_world_camera: Pose


@dataclass(frozen=True)
class PairSelection:
    """Criteria for pairs of images of a sequence.

    Attributes:
        gaps: index differences of the two images.
        max_rotation: maximum rotation between the cameras, degrees.
        min_baseline: minimum distance of the cameras, metres; 0 includes pairs of a stationary camera.

    Raises:
        ConfigurationError: there is no gap, or a gap is less than 1.
    """

    gaps: tuple[int, ...] = (1, 3, 8, 20)
    max_rotation: float = 45.0
    min_baseline: float = 0.0

    def __post_init__(self) -> None:
        if not self.gaps or min(self.gaps) < 1:
            raise ConfigurationError(f"gaps {self.gaps} must be one or more positive integers")


def sequence_pairs(
    sequence: Sequence[PosedImage], selection: PairSelection | None = None, name: str = ""
) -> list[DataSetPair]:
    """Return the pairs of a sequence that meet the criteria, the earlier image first.

    Args:
        sequence: images in temporal order.
        selection: criteria; default: ``PairSelection()``.
        name: name of the resulting pairs.
    """
    selection = PairSelection() if selection is None else selection
    pairs = []
    for gap in selection.gaps:
        for first, second in zip(sequence, sequence[gap:], strict=False):
            T_1_0 = second.T_world_camera.inverse() @ first.T_world_camera
            angle = math.degrees(float(np.linalg.norm(so3.log(T_1_0.rotation))))
            baseline = float(np.linalg.norm(T_1_0.translation))
            if angle <= selection.max_rotation and baseline >= selection.min_baseline:
                pairs.append(DataSetPair((first.image, second.image), T_1_0, metric=True, name=name))
    return pairs

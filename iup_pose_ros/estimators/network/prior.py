"""What a network tells other estimators of a pair: its pose, and roughly where points went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches, RelativePose


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Soft correspondence of two frames, and their pose.

    Attributes:
        matches: coarse, some of them wrong, in pixels of the frames.
        weights: (N,) how far each match is trusted, positive.
        attention: as ``RelativePose``.
        pose: with calibrated covariance; None where the network's output is not finite.
    """

    matches: Matches
    weights: Array
    attention: NDArray[np.float32] | None
    pose: RelativePose | None


class PriorNetwork(Protocol):
    """A network behind ``PosePrior``."""

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""

    def prior(self, previous: Frame, current: Frame) -> PosePrior:
        """What the network sees in two frames.

        Raises:
            EstimationError: an image is too small.
        """

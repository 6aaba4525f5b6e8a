"""What a network tells other estimators of a pair: its pose, and roughly where points went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from iup_pose_ros.estimators.base import Frame, Matches, RelativePose
from iup_pose_ros.geometry.so3 import Array


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Pose and soft correspondence of two frames.

    Attributes:
        pose: with calibrated covariance.
        matches: coarse, some of them wrong, in pixels of the frames.
        weights: (N,) how far each match is trusted, positive.
    """

    pose: RelativePose
    matches: Matches
    weights: Array


class PriorNetwork(Protocol):
    """A network behind ``PosePrior``."""

    def prior(self, previous: Frame, current: Frame) -> PosePrior:
        """What the network sees in two frames.

        Raises:
            EstimationError: an image is too small, or the output is not finite.
        """

"""Matches of a network, for estimators that solve for the pose themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches

# Minimum weight of a match for pose estimation. All matches guide tracks.
_MINIMUM_WEIGHT = 0.1
MATCH_SOLVER = EpipolarConfig(threshold=2.0, min_noise=0.6, min_iterations=1000)
"""Solver settings for network matches, whose keypoints are less precise than tracks."""


@dataclass(frozen=True, eq=False)
class NetworkMatches:
    """Matches of two frames, including outliers.

    Attributes:
        matches: N matches in pixels of the frames.
        weights: (N,) in (0, 1], confidence of each match.
        attention: see ``RelativePose``.
    """

    matches: Matches
    weights: Array
    attention: NDArray[np.float32] | None

    @property
    def confident(self) -> Matches:
        """Matches with sufficient weight for pose estimation."""
        return self.matches.chosen(self.weights >= _MINIMUM_WEIGHT)


class MatchingNetwork(Protocol):
    """Network that matches two frames."""

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""

    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        """Return the matches of two frames.

        Raises:
            EstimationError: an image is too small.
        """

"""Matches that a network finds between two frames, for estimators that solve for the pose themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches


@dataclass(frozen=True, eq=False)
class NetworkMatches:
    """Matches of two frames, some of them wrong.

    Attributes:
        matches: N matches in pixels of the frames.
        weights: (N,) in (0, 1], how far each match is trusted.
        attention: as ``RelativePose``.
    """

    matches: Matches
    weights: Array
    attention: NDArray[np.float32] | None


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

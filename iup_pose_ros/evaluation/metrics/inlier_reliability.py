"""Reliability of the inlier probability: predicted probability against the observed fraction of inliers.

Source: Guo et al., "On calibration of modern neural networks", 2017, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.so3 import Array

# Narrower towards 1, where most poses are.
BIN_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class ReliabilityBin:
    """Poses whose inlier probability lies in one interval.

    Attributes:
        lower, upper: bounds of the probability, of which the lower one is included; 1 is in the last bin.
        poses: number of poses.
        mean_probability: mean of their probabilities.
        inlier_share: fraction of them that are inliers.
    """

    lower: float
    upper: float
    poses: int
    mean_probability: float
    inlier_share: float


def inlier_reliability(probabilities: Array, is_inlier: NDArray[np.bool_]) -> list[ReliabilityBin]:
    """Return the bins that contain poses, in ascending order.

    Args:
        probabilities: (N,) predicted inlier probabilities; NaN where unknown, which are left out.
        is_inlier: (N,) whether the pose is an inlier.
    """
    known = ~np.isnan(probabilities)
    probabilities, is_inlier = probabilities[known], is_inlier[known]
    index = np.clip(np.digitize(probabilities, BIN_EDGES) - 1, 0, len(BIN_EDGES) - 2)
    return [
        ReliabilityBin(
            lower=BIN_EDGES[number],
            upper=BIN_EDGES[number + 1],
            poses=int(np.count_nonzero(index == number)),
            mean_probability=float(probabilities[index == number].mean()),
            inlier_share=float(is_inlier[index == number].mean()),
        )
        for number in np.unique(index)
    ]

"""What comes out of the network, for one pair or a batch, in the terms of estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array, project_to_so3
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.types import Frame, Matches, RelativePose

# A match nearer than this to the image plane through the camera's centre is at no meaningful pixel.
_LEAST_FORWARD = 0.1
_CERTAIN_SPREAD = 0.01  # radians, deviation at which a match counts half
_LEAST_WEIGHT = 1e-3
_TRUSTED = 0.5  # relative to the maximum weight


def relative_pose(R_1_0: Array, t_1_0: Array, sigma_R: Array, sigma_t: float, source: str) -> RelativePose:
    """The network's output for one pair in the convention of the odometry.

    Args:
        R_1_0, t_1_0: previous to current camera frame, (3, 3) and unit (3,).
        sigma_R: (3,) of delta in R_true = R_1_0 Exp(delta), so about the previous camera's axes, radians.
        sigma_t: of the direction t_1_0 per axis of its tangent plane, radians; nominal along it.
        source: name of the estimator.

    Raises:
        EstimationError: a value is not finite.
    """
    if not all(np.isfinite(value).all() for value in (R_1_0, t_1_0, sigma_R, sigma_t)):
        raise EstimationError("the network's output is not finite")
    R_1_0 = project_to_so3(R_1_0)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = sigma_t**2 * np.eye(3)
    covariance[3:, 3:] = R_1_0 @ np.diag(sigma_R**2) @ R_1_0.T  # Exp(R delta) R = R Exp(delta)
    T_prev_curr = PoseWithCovariance(Pose(R_1_0, t_1_0 / np.linalg.norm(t_1_0)), covariance).inverse()
    return RelativePose(
        T_prev_curr=T_prev_curr.pose,
        covariance=T_prev_curr.covariance,
        sigma_R=sigma_R,
        sigma_t=sigma_t,
        metric=False,
        source=source,
    )


def attention_maps(correspondence: SoftCorrespondence) -> NDArray[np.float32]:
    """Per pair, where attention found in view 1 what view 0 shows: (B, h, w) in [0, 1]."""
    confidence = correspondence.view_1.confidence[:, 0]
    return confidence.sqrt().cpu().float().numpy()  # probabilities of both directions multiplied


def soft_matches(view: MatchedRays, previous: Frame, current: Frame, index: int = 0) -> tuple[Matches, Array]:
    """Where the cells of a pair's previous view went, in pixels of the frames, and their weights (N,).

    Cells without a match, and those that the network finds behind the current camera, are left out.

    Args:
        view: of a batch.
        previous, current: the frames of one of its pairs.
        index: of that pair.
    """
    own, matched = (rays[index].flatten(1).T.cpu().double().numpy() for rays in (view.own, view.matched))
    spread = view.spread[index].flatten().cpu().double().numpy()
    seen = matched[:, 2] > _LEAST_FORWARD * np.linalg.norm(matched, axis=1)
    seen &= view.confidence[index].flatten().cpu().numpy() > 0.0
    points_prev = previous.intrinsics.project(own[seen])
    points_curr = current.intrinsics.project(matched[seen])
    weights = 1.0 / (1.0 + (spread[seen] / _CERTAIN_SPREAD) ** 2)
    return Matches(points_prev, points_curr), np.maximum(weights, _LEAST_WEIGHT)


def select_confident(matches: Matches, weights: Array, max_count: int) -> Matches:
    """Select at most ``max_count`` matches, evenly from those of at least half the maximum weight (N,)."""
    selected = np.flatnonzero(weights >= _TRUSTED * weights.max(initial=0.0))
    selected = selected[:: max(1, -(-len(selected) // max_count))]
    return matches.chosen(selected)

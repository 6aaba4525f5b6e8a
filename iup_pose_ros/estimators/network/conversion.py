"""Conversion of the network output to poses, covariances and matches of estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array, project_to_so3
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.types import Frame, Matches, RelativePose

# Minimum z of a unit ray: others are behind the camera or have no meaningful pixel.
_MINIMUM_FORWARD = 0.1
_CERTAIN_SPREAD = 0.01  # radians, sigma at which the weight of a match is one half
_MINIMUM_WEIGHT = 1e-3
_CONFIDENT = 0.5  # minimum weight of confident matches, relative to the maximum weight


def relative_pose(R_1_0: Array, t_1_0: Array, sigma_R: Array, sigma_t: float, source: str) -> RelativePose:
    """Convert the network output for one pair to a relative pose.

    Args:
        R_1_0, t_1_0: pose of the previous camera in the current frame, (3, 3) and unit (3,).
        sigma_R: (3,), standard deviations of delta in R_true = R_1_0 Exp(delta), radians: about the axes of
            the previous camera.
        sigma_t: standard deviation of the direction t_1_0 per axis of its tangent plane, radians. The same
            value is used along t_1_0, where the scale is unknown.
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
    """Return for each pair where view 1 shows points of view 0: (B, h, w) in [0, 1]."""
    # A keypoint speaks for the patch around it. The confidence is a product of the probabilities of both
    # directions.
    confidence = functional.max_pool2d(correspondence.view_1.confidence, 5, 1, 2)[:, 0]
    return confidence.sqrt().cpu().float().numpy()


def soft_matches(view: MatchedRays, previous: Frame, current: Frame) -> tuple[Matches, Array]:
    """Convert matches of the previous view's cells to N matches in pixels and weights (N,) in (0, 1].

    Cells without a match, with a match behind the current camera, or in the mask of a frame are omitted.

    Args:
        view: matches of view 0 of one pair, B = 1.
        previous, current: frames of the pair.
    """
    own, matched = (rays[0].flatten(1).T.cpu().double().numpy() for rays in (view.own, view.matched))
    spread = view.spread[0].flatten().cpu().double().numpy()
    visible = matched[:, 2] > _MINIMUM_FORWARD * np.linalg.norm(matched, axis=1)
    visible &= view.confidence[0].flatten().cpu().numpy() > 0.0
    points_prev = previous.intrinsics.project(own[visible])
    points_curr = current.intrinsics.project(matched[visible])
    weights = 1.0 / (1.0 + (spread[visible] / _CERTAIN_SPREAD) ** 2)
    matches = Matches(points_prev, points_curr)
    usable = matches.outside_masks(previous, current)
    return matches.chosen(usable), np.maximum(weights, _MINIMUM_WEIGHT)[usable]


def select_confident(matches: Matches, weights: Array, max_count: int) -> Matches:
    """Select at most ``max_count`` matches, evenly from those of at least half the maximum weight (N,)."""
    selected = np.flatnonzero(weights >= _CONFIDENT * weights.max(initial=0.0))
    selected = selected[:: max(1, -(-len(selected) // max_count))]
    return matches.chosen(selected)

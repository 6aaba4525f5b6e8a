"""Insertion of the points of true matches as keypoints.

Sparse matches of photographs come from another detector, so few detected keypoints are near their points.
Used as keypoints of both views, with descriptors sampled there, they are matches with sub-pixel accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.keypoint_matching import KeypointFeatures, rays_through
from iup_pose_ros.model.keypoints import CELL, sample
from iup_pose_ros.training.data.batches import SparseMatches

DISTANCE = 4.0  # pixels; nearer detected keypoints are replaced first
ALONE = 5  # one of this many points becomes a keypoint of view 0 only, another one of view 1 only


def with_true_keypoints(
    view_0: KeypointFeatures, view_1: KeypointFeatures, matches: SparseMatches
) -> tuple[KeypointFeatures, KeypointFeatures]:
    """Return both views with points of true matches in place of other keypoints.

    Some points become keypoints of one view only, so that there are also keypoints without a match.
    """
    turn = torch.arange(matches.known.shape[1], device=matches.known.device) % ALONE
    return (
        _with_points(view_0, matches.pixels_0, matches.known & (turn != 0)),
        _with_points(view_1, matches.pixels_1, matches.known & (turn != 1)),
    )


def _with_points(features: KeypointFeatures, points: Tensor, taken: Tensor) -> KeypointFeatures:
    """Replace at most M keypoints of a view by points (B, M, 2), where ``taken`` (B, M) is true."""
    kept = features.pixels.shape[1] - points.shape[1]
    shown = points.masked_fill(~taken[..., None], torch.inf)
    distance = torch.cdist(features.pixels, shown, compute_mode="donot_use_mm_for_euclid_dist")
    crowded = (distance < DISTANCE).any(dim=2)
    # Keypoints near points come last, as do the points that are taken.
    order = crowded.int().argsort(dim=1, stable=True)
    point_order = taken.int().argsort(dim=1, stable=True)
    points, taken = _picked(points, point_order), taken.gather(1, point_order)
    pixels, descriptors = _picked(features.pixels, order), _picked(features.descriptors, order)
    at_points = functional.normalize(sample(features.maps, points), dim=2)
    pixels = torch.cat([pixels[:, :kept], torch.where(taken[..., None], points, pixels[:, kept:])], dim=1)
    descriptors = torch.cat(
        [descriptors[:, :kept], torch.where(taken[..., None], at_points, descriptors[:, kept:])], dim=1
    )
    width = features.maps.shape[-1]
    columns, rows = ((pixels + 0.5) / CELL).floor().long().unbind(dim=2)
    rays = rays_through(pixels, features.intrinsics)
    return KeypointFeatures(
        rows * width + columns, pixels, descriptors, rays, features.maps, features.intrinsics
    )


def _picked(values: Tensor, index: Tensor) -> Tensor:
    """Return entries (B, N, C) of values (B, N, C) by index (B, N)."""
    return values.gather(1, index[..., None].expand_as(values))

"""Points of true matches as keypoints, where few of the detected ones lie next to any.

Sparse matches of photographs are those of another detector. Taken as keypoints in both views, with the
descriptors of their places, they are matches exact to a fraction of a pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.keypoint_matching import KeypointFeatures, rays_through
from iup_pose_ros.model.keypoints import sample
from iup_pose_ros.model.xfeat_encoder import CELL
from iup_pose_ros.training.data.batches import SparseMatches

DISTANCE = 4.0  # pixels; detected keypoints as near as that to a point give way to it
ALONE = 5  # of so many points one is a keypoint of view 0 alone, and one of view 1 alone


def with_true_keypoints(
    view_0: KeypointFeatures, view_1: KeypointFeatures, matches: SparseMatches
) -> tuple[KeypointFeatures, KeypointFeatures]:
    """Return both views with points of true matches in place of their weakest keypoints.

    Some points become keypoints of one view alone, so that not every such keypoint has a match.
    """
    turn = torch.arange(matches.known.shape[1], device=matches.known.device) % ALONE
    return (
        _with_points(view_0, matches.pixels_0, matches.known & (turn != 0)),
        _with_points(view_1, matches.pixels_1, matches.known & (turn != 1)),
    )


def _with_points(features: KeypointFeatures, points: Tensor, taken: Tensor) -> KeypointFeatures:
    """Keypoints of a view; points (B, M, 2) stand in for the last M of them where they are taken (B, M)."""
    kept = features.pixels.shape[1] - points.shape[1]
    shown = points.masked_fill(~taken[..., None], torch.inf)
    distance = torch.cdist(features.pixels, shown, compute_mode="donot_use_mm_for_euclid_dist")
    crowded = (distance < DISTANCE).any(dim=2)
    # Crowded keypoints come last, and so do the points that are taken.
    order = crowded.int().argsort(dim=1, stable=True)
    places = taken.int().argsort(dim=1, stable=True)
    points, taken = _picked(points, places), taken.gather(1, places)
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
    """Entries (B, N, C) of values (B, N, C) by index (B, N)."""
    return values.gather(1, index[..., None].expand_as(values))

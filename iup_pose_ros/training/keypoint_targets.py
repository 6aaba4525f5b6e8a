"""True assignment of the keypoints of two views, from dense depth or from sparse true matches.

A keypoint may be matched, unmatched, or neither where the truth is unknown.
Source: Lindenberger et al., "LightGlue: Local feature matching at light speed", 2023, section 3.4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.keypoint_matching import rays_through
from iup_pose_ros.training.data.batches import SparseMatches
from iup_pose_ros.training.targets import DEPTH_TOLERANCE

NEAR = 3.0  # pixels, maximum reprojection error of keypoints that match
FAR = 5.0  # pixels, reprojection error above which keypoints do not match
NEAR_POINT = 2.0  # pixels, maximum distance of a keypoint from a point of a true match
OFF_LINE = 12.0  # pixels, distance from the epipolar line above which keypoints cannot match


class KeypointTarget(NamedTuple):
    """True assignment of B pairs with N_0 and N_1 keypoints.

    Attributes:
        match: (B, N_0), index of the matching keypoint of view 1; -1: none or unknown.
        unmatched_0, unmatched_1: (B, N_0) and (B, N_1) bool, whether a keypoint has no match for certain.
        impossible: (B, N_0, N_1) bool, keypoints that cannot match; None: not determined.
    """

    match: Tensor
    unmatched_0: Tensor
    unmatched_1: Tensor
    impossible: Tensor | None = None

    def kept(self, kept_0: Tensor, kept_1: Tensor) -> KeypointTarget:
        """Return the assignment of a subset of keypoints with indices (B, n_0) and (B, n_1).

        A keypoint whose match is not in the subset becomes unknown.
        """
        places = torch.full_like(self.unmatched_1, -1, dtype=torch.long)
        places.scatter_(1, kept_1, torch.arange(kept_1.shape[1], device=kept_1.device).expand_as(kept_1))
        match = self.match.gather(1, kept_0)
        impossible = self.impossible
        if impossible is not None:
            rows = impossible.gather(1, kept_0[..., None].expand(-1, -1, impossible.shape[2]))
            impossible = rows.gather(2, kept_1[:, None].expand(-1, kept_0.shape[1], -1))
        return KeypointTarget(
            torch.where(match >= 0, places.gather(1, match.clamp(min=0)), -1),
            self.unmatched_0.gather(1, kept_0),
            self.unmatched_1.gather(1, kept_1),
            impossible,
        )

    @property
    def matched_1(self) -> Tensor:
        """(B, N_1) bool, whether a keypoint of view 1 has a match in view 0."""
        return _matched_in_1(self.match, self.unmatched_1.shape[1])


class View(NamedTuple):
    """Keypoints of one view of B pairs: pixels (B, N, 2) and camera matrices (B, 3, 3)."""

    pixels: Tensor
    K: Tensor


class Reprojection(NamedTuple):
    """Projection of the keypoints of a view to the other view.

    Attributes:
        pixels: (B, N, 2), infinite where the point is not visible in the other view.
        visible, hidden: (B, N) bool, visibility in the other view; both false where it is unknown.
    """

    pixels: Tensor
    visible: Tensor
    hidden: Tensor


def target_from_depth(
    view_0: View, view_1: View, R_1_0: Tensor, t_1_0: Tensor, depth_0: Tensor, depth_1: Tensor
) -> KeypointTarget:
    """Assign keypoints that are mutual nearest neighbours with small reprojection errors in both directions.

    Args:
        view_0, view_1: keypoints.
        R_1_0, t_1_0: pose (B, 3, 3) and (B, 3): X_1 = R_1_0 X_0 + t_1_0.
        depth_0, depth_1: (B, H, W) along the optical axis; infinite: sky; 0: unknown.
    """
    R_0_1 = R_1_0.transpose(1, 2)
    t_0_1 = -(R_0_1 @ t_1_0[..., None])[..., 0]
    in_1 = reproject(view_0, view_1.K, R_1_0, t_1_0, depth_0, depth_1)
    in_0 = reproject(view_1, view_0.K, R_0_1, t_0_1, depth_1, depth_0)
    error_0, error_1 = _distances(in_1.pixels, view_1.pixels), _distances(view_0.pixels, in_0.pixels)
    return KeypointTarget(
        match=mutually_nearest(torch.maximum(error_0, error_1), NEAR),
        unmatched_0=in_1.hidden | (in_1.visible & (error_0.amin(dim=2) > FAR)),
        unmatched_1=in_0.hidden | (in_0.visible & (error_1.amin(dim=1) > FAR)),
    )


def target_from_matches(
    view_0: View, view_1: View, R_1_0: Tensor, t_1_0: Tensor, matches: SparseMatches
) -> KeypointTarget:
    """Assign keypoints by sparse true matches and the epipolar geometry.

    Keypoints near both points of a true match are matched. A keypoint near one of the points is unmatched if
    no keypoint is near the other. Keypoints far from each other's epipolar lines cannot match.
    """
    outside = ~matches.known[..., None]
    points_0 = matches.pixels_0.masked_fill(outside, torch.inf)
    points_1 = matches.pixels_1.masked_fill(outside, torch.inf)
    distance_0, distance_1 = _distances(view_0.pixels, points_0), _distances(view_1.pixels, points_1)
    nearest_0, nearest_1 = distance_0.min(dim=1), distance_1.min(dim=1)
    near_0, near_1 = nearest_0.values <= NEAR_POINT, nearest_1.values <= NEAR_POINT
    error = torch.full((*view_0.pixels.shape[:2], view_1.pixels.shape[1]), torch.inf, device=near_0.device)
    pair, point = (near_0 & near_1).nonzero(as_tuple=True)
    first, second = nearest_0.indices[pair, point], nearest_1.indices[pair, point]
    error[pair, first, second] = nearest_0.values[pair, point] + nearest_1.values[pair, point]
    match = mutually_nearest(error, 2.0 * NEAR_POINT)
    return KeypointTarget(
        match=match,
        unmatched_0=_marked(view_0, nearest_0.indices, near_0 & (nearest_1.values > FAR)) & (match < 0),
        unmatched_1=_marked(view_1, nearest_1.indices, near_1 & (nearest_0.values > FAR))
        & ~_matched_in_1(match, view_1.pixels.shape[1]),
        impossible=off_epipolar_line(view_0, view_1, R_1_0, t_1_0),
    )


def reproject(
    view: View, K_other: Tensor, R: Tensor, t: Tensor, depth: Tensor, depth_other: Tensor
) -> Reprojection:
    """Project keypoints to another view; (R, t) maps points from their camera frame to the other one.

    A point is visible if its depth agrees with that of the other view within ``DEPTH_TOLERANCE``. At depth
    discontinuities, where neighbouring pixels differ more, its visibility is unknown.
    """
    inverse, weights = inverse_depth_around(depth, view.pixels)
    mean = (weights * inverse).sum(dim=2)
    spread = inverse.amax(dim=2) - inverse.amin(dim=2)
    known = mean.isfinite() & (spread <= 2.0 * DEPTH_TOLERANCE * mean)
    mean = torch.where(known, mean, 0.0)
    focal = torch.stack([view.K[:, 0, 0], view.K[:, 1, 1]], dim=1)
    plane = (view.pixels - view.K[:, None, :2, 2]) / focal[:, None]
    rays = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=2)
    # Scaled by inverse depth, so that points at infinity stay finite.
    points = rays @ R.transpose(1, 2) + t[:, None] * mean[..., None]
    forward = points[..., 2] > 1e-3
    pixels = points @ K_other.transpose(1, 2)
    pixels = pixels[..., :2] / points[..., 2:].clamp(min=1e-3)
    height, width = depth_other.shape[-2:]
    size = pixels.new_tensor([width, height])
    inside = forward & ((pixels > -0.5) & (pixels < size - 0.5)).all(dim=2)
    surface, _ = inverse_depth_around(depth_other, torch.where(inside[..., None], pixels, 0.0))
    expected = mean / points[..., 2].clamp(min=1e-3)
    agrees = ((surface - expected[..., None]).abs() <= DEPTH_TOLERANCE * expected[..., None]).any(dim=2)
    visible = known & inside & agrees
    hidden = known & ~visible & (~inside | surface.isfinite().all(dim=2))
    return Reprojection(pixels.masked_fill(~visible[..., None], torch.inf), visible, hidden)


def inverse_depth_around(depth: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse depths (B, N, 4) of the four neighbours of pixels (B, N, 2), and bilinear weights.

    The inverse depth is infinite where the depth is unknown (0).
    """
    height, width = depth.shape[-2:]
    corner = pixels.floor()
    fraction = pixels - corner
    inverse, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            column = (corner[..., 0] + dx).clamp(0, width - 1).long()
            row = (corner[..., 1] + dy).clamp(0, height - 1).long()
            inverse.append(1.0 / depth.flatten(1).gather(1, row * width + column))
            weights.append((fraction - pixels.new_tensor([1 - dx, 1 - dy])).abs().prod(dim=2))
    return torch.stack(inverse, dim=2), torch.stack(weights, dim=2)


def mutually_nearest(error: Tensor, maximum: float) -> Tensor:
    """Return the column of the mutual minimum for every row of errors (B, N_0, N_1); -1 if there is none.

    The error must be at most ``maximum``.
    """
    best_0, best_1 = error.min(dim=2), error.min(dim=1)
    own = torch.arange(error.shape[1], device=error.device)
    mutual = best_1.indices.gather(1, best_0.indices) == own
    return torch.where(mutual & (best_0.values <= maximum), best_0.indices, -1)


def off_epipolar_line(view_0: View, view_1: View, R_1_0: Tensor, t_1_0: Tensor) -> Tensor:
    """Return which keypoints (B, N_0, N_1) are far from each other's epipolar lines in both images."""
    t = functional.normalize(t_1_0, dim=1)[:, None]
    turned = rays_through(view_0.pixels, view_0.K) @ R_1_0.transpose(1, 2)
    rays_1 = rays_through(view_1.pixels, view_1.K)
    normals_0, normals_1 = torch.linalg.cross(t, turned), torch.linalg.cross(t, rays_1)
    products = (normals_0 @ rays_1.transpose(1, 2)).abs()
    longest = torch.maximum(normals_0.norm(dim=2)[:, :, None], normals_1.norm(dim=2)[:, None])
    focal = torch.sqrt(view_0.K[:, 0, 0] * view_1.K[:, 0, 0])[:, None, None]
    return focal * products > OFF_LINE * longest


def _distances(pixels: Tensor, others: Tensor) -> Tensor:
    """Return distances (B, N, M) of pixels (B, N, 2) and (B, M, 2); infinite where one of them is."""
    return torch.cdist(pixels, others, compute_mode="donot_use_mm_for_euclid_dist")


def _marked(view: View, index: Tensor, marks: Tensor) -> Tensor:
    """Return which keypoints (B, N) have an index (B, M) with a true mark (B, M)."""
    found = torch.zeros(view.pixels.shape[:2], dtype=torch.bool, device=index.device)
    pair, point = marks.nonzero(as_tuple=True)
    found[pair, index[pair, point]] = True
    return found


def _matched_in_1(match: Tensor, count: int) -> Tensor:
    """Return which of ``count`` keypoints of view 1 have a match in view 0."""
    found = torch.zeros(len(match), count, dtype=torch.bool, device=match.device)
    pair, point = (match >= 0).nonzero(as_tuple=True)
    found[pair, match[pair, point]] = True
    return found

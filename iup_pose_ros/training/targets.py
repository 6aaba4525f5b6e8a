"""Ground truth of poses and cell matches, from depth and pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.alignment import MATCH_STRIDE
from iup_pose_ros.model.rays import intrinsics_at_stride, normalised_coordinates, plane_to_pixels, rotate

DEPTH_TOLERANCE = 0.03  # relative difference of depth above which a point is occluded


@dataclass(frozen=True, eq=False)
class MatchTarget:
    """True matches of one view's cells at stride 8.

    Attributes:
        cells: (B, H, W, 2) sub-cell column and row in the grid of the other view.
        rays: (B, 3, H, W) unit rays in the frame of the other view.
        known: (B, H, W) bool, whether the ray is known, visible in the other view or not.
        visible: (B, H, W) bool, whether the point at the cell's centre is visible in the other view.
    """

    cells: Tensor
    rays: Tensor
    known: Tensor
    visible: Tensor


@dataclass(frozen=True, eq=False)
class MatchTargets:
    """True matches of both views."""

    view_0: MatchTarget
    view_1: MatchTarget


@dataclass(frozen=True, eq=False)
class PairTarget:
    """Ground truth of a batch of pairs: R_1_0 (B, 3, 3), t_1_0 (B, 3) of any length (zero: no direction)."""

    R_1_0: Tensor
    t_1_0: Tensor
    matches: MatchTargets | None = None

    @classmethod
    def from_depth(
        cls, R_1_0: Tensor, t_1_0: Tensor, K_0: Tensor, K_1: Tensor, depth_0: Tensor, depth_1: Tensor
    ) -> PairTarget:
        """Create the target from pose, camera matrices (B, 3, 3) and depths (B, H, W) of the input images."""
        R_0_1 = R_1_0.transpose(1, 2)
        t_0_1 = -(R_0_1 @ t_1_0[..., None])[..., 0]
        matches = MatchTargets(
            match_target(R_1_0, t_1_0, K_0, K_1, depth_0, depth_1),
            match_target(R_0_1, t_0_1, K_1, K_0, depth_1, depth_0),
        )
        return cls(R_1_0, t_1_0, matches)


def match_target(
    R_1_0: Tensor, t_1_0: Tensor, K_0: Tensor, K_1: Tensor, depth_0: Tensor, depth_1: Tensor
) -> MatchTarget:
    """Return the true matches of view 0's cells in view 1; arguments as in ``PairTarget.from_depth``."""
    inverse_0, flat = cell_inverse_depth(depth_0)
    cells_0 = intrinsics_at_stride(K_0, MATCH_STRIDE)
    # Scaled by inverse depth, so that points at infinity stay finite.
    points = rotate(R_1_0, normalised_coordinates(cells_0, *inverse_0.shape[-2:]))
    points = points + t_1_0[..., None, None] * inverse_0
    forward = points[:, 2] > 1e-3
    plane = points[:, :2] / points[:, 2:].clamp(min=1e-3)
    pixels = _project(plane, K_1)
    height, width = depth_1.shape[-2:]
    size = pixels.new_tensor([width, height])
    grid = ((2.0 * pixels + 1.0) / size - 1.0).clamp(-2.0, 2.0)
    inside = (grid.abs() <= 1.0).all(dim=-1)
    surface = functional.grid_sample(
        1.0 / depth_1[:, None], grid, align_corners=False, padding_mode="border"
    )[:, 0]
    expected = inverse_0[:, 0] / points[:, 2].clamp(min=1e-3)
    unoccluded = (surface - expected).abs() <= DEPTH_TOLERANCE * expected
    cells = _project(plane, intrinsics_at_stride(K_1, MATCH_STRIDE))
    known = flat & forward
    return MatchTarget(cells, functional.normalize(points, dim=1), known, known & inside & unoccluded)


def cell_inverse_depth(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Return inverse depth (B, 1, H/8, W/8) at cell centres, and whether it is known (B, H/8, W/8).

    It is the mean of the four pixels around the centre, exact on a plane; unknown at discontinuities.
    """
    first = MATCH_STRIDE // 2 - 1
    rows = 1.0 / depth[:, None]
    corners = [
        rows[..., first + dy :: MATCH_STRIDE, first + dx :: MATCH_STRIDE] for dx in (0, 1) for dy in (0, 1)
    ]
    stacked = torch.stack(corners)
    mean = stacked.mean(dim=0)
    smooth = (stacked.amax(dim=0) - stacked.amin(dim=0)) <= 2.0 * DEPTH_TOLERANCE * mean
    known = smooth & mean.isfinite()
    # Depth 0 means unknown; its infinite inverse would propagate.
    return torch.where(known, mean, 0.0), known[:, 0]


def _project(plane: Tensor, intrinsics: Tensor) -> Tensor:
    """Convert normalised coordinates (B, 2, H, W) to pixels (B, H, W, 2)."""
    return plane_to_pixels(plane, intrinsics).movedim(1, -1)

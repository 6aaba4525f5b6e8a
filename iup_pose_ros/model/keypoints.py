"""Keypoint detection: the best pixel of each 8x8 cell, then the best cells of the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import vector_like

CELL = 8  # pixels across a cell, which has at most one keypoint
NEIGHBOURHOOD = 2  # pixels, radius of non-maximum suppression
SUPPRESSED = 1e-3  # score factor of suppressed keypoints, which are used only if there are too few others


class KeypointMaps(NamedTuple):
    """Output of an encoder.

    Attributes:
        scores: (B, H, W) of keypoints at all pixels, positive.
        position_weights: (B, H, W), positive; sub-pixel positions are means with these weights.
        reliability: factor (B, 1, H/8, W/8) of the scores when the best keypoints are selected; None: 1.
        levels: features (B, C, H/s, W/s) of one or several strides s, from which descriptors are computed.
    """

    scores: Tensor
    position_weights: Tensor
    reliability: Tensor | None
    levels: tuple[Tensor, ...]


def find_keypoints(maps: KeypointMaps, count: int, radius: int) -> tuple[Tensor, Tensor]:
    """Select the ``count`` keypoints of each view with the highest scores, at most one per cell.

    Args:
        radius: of the window of sub-pixel refinement, pixels.

    Returns:
        Row-major indices (B, N) of their cells, ascending, and their sub-pixel columns and rows (B, N, 2).
    """
    with full_precision(maps.scores):
        best, place = functional.pixel_unshuffle(maps.scores[:, None], CELL).max(dim=1)
        rows, columns = (torch.arange(size, device=place.device) for size in place.shape[-2:])
        u, v = CELL * columns + place % CELL, CELL * rows[:, None] + place // CELL
        pixels_of_cells = torch.stack([u, v], dim=-1).float()
        scores = best
        if maps.reliability is not None:
            scores = best * sample(maps.reliability.float(), pixels_of_cells.flatten(1, 2)).view_as(best)
        suppressed = _stronger_nearby(best, pixels_of_cells)
        scores = torch.where(suppressed, SUPPRESSED * scores, scores).flatten(1)
        cells = scores.topk(min(count, scores.shape[1]), dim=1).indices.sort(dim=1).values
        whole = pixels_of_cells.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 2))
        return cells, whole + _offsets(maps.position_weights, whole, radius)


def sample(cells: Tensor, pixels: Tensor) -> Tensor:
    """Interpolate a map (B, C, H/8, W/8) bilinearly at pixels (B, N, 2) of the input image: (B, N, C)."""
    height, width = cells.shape[-2:]
    size = vector_like(pixels, CELL * width, CELL * height)
    grid = (2.0 * pixels + 1.0) / size - 1.0
    found = functional.grid_sample(cells, grid[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


def _stronger_nearby(best: Tensor, pixels: Tensor) -> Tensor:
    """Return whether a neighbouring cell has a stronger keypoint within NEIGHBOURHOOD: bool (B, H/8, W/8)."""
    height, width = best.shape[-2:]
    scores = functional.pad(best, (1, 1, 1, 1))
    padded = functional.pad(pixels, (0, 0, 1, 1, 1, 1), value=-2.0 * CELL)
    found = torch.zeros_like(best, dtype=torch.bool)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        window = (slice(None), slice(row, row + height), slice(column, column + width))
        near = ((padded[window] - pixels).abs() <= NEIGHBOURHOOD).all(dim=-1)
        found |= near & (scores[window] > best)
    return found


def _offsets(weights: Tensor, whole: Tensor, radius: int) -> Tensor:
    """Return mean offsets (B, N, 2) by weights (B, H, W) in windows at whole pixels (B, N, 2)."""
    height, width = weights.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=whole.device)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack([u, v], dim=-1).flatten(0, 1)
    around = whole.long()[:, :, None] + offsets
    columns, rows = around[..., 0].clamp(0, width - 1), around[..., 1].clamp(0, height - 1)
    near = weights.flatten(1).gather(1, (rows * width + columns).flatten(1)).view_as(columns)
    return (near[..., None] * offsets).sum(dim=2) / near.sum(dim=2, keepdim=True).clamp(min=1e-9)

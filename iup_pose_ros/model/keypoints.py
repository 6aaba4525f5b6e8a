"""Keypoint detection: the best pixel of each 8x8 cell, then the best cells of the image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import vector_like
from iup_pose_ros.model.xfeat_encoder import CELL, XFeatMaps

NEIGHBOURHOOD = 2  # pixels, radius of non-maximum suppression
WINDOW = 1  # pixels, radius of the window of sub-pixel refinement
SUPPRESSED = 1e-3  # score factor of suppressed keypoints, which are used only if there are too few others


class Keypoints(NamedTuple):
    """The N keypoints of each view with the highest scores.

    Attributes:
        cells: (B, N) row-major index of their cells at stride 8, ascending.
        pixels: (B, N, 2) sub-pixel columns and rows in the network's input image.
        descriptors: (B, N, D), unit.
    """

    cells: Tensor
    pixels: Tensor
    descriptors: Tensor


def find_keypoints(maps: XFeatMaps, count: int) -> Keypoints:
    """Return the ``count`` keypoints of each view with the highest scores, at most one per cell."""
    with full_precision(maps.keypoint_logits):
        probability = maps.keypoint_logits.float().softmax(dim=1)[:, :-1]
        best, place = probability.max(dim=1)
        rows, columns = (torch.arange(size, device=place.device) for size in place.shape[-2:])
        u, v = CELL * columns + place % CELL, CELL * rows[:, None] + place // CELL
        pixels_of_cells = torch.stack([u, v], dim=-1).float()
        scores = best * sample(maps.reliability.float(), pixels_of_cells.flatten(1, 2)).view_as(best)
        suppressed = _stronger_nearby(best, pixels_of_cells)
        scores = torch.where(suppressed, SUPPRESSED * scores, scores).flatten(1)
        cells = scores.topk(min(count, scores.shape[1]), dim=1).indices.sort(dim=1).values
        whole = pixels_of_cells.flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 2))
        pixels = whole + _offsets(functional.pixel_shuffle(probability, CELL)[:, 0], whole)
        descriptors = functional.normalize(sample(maps.descriptors.float(), pixels), dim=2)
    return Keypoints(cells, pixels, descriptors)


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


def _offsets(probability: Tensor, whole: Tensor) -> Tensor:
    """Return mean offsets (B, N, 2) by probabilities (B, H, W) in windows at whole pixels (B, N, 2)."""
    height, width = probability.shape[-2:]
    steps = torch.arange(-WINDOW, WINDOW + 1, device=whole.device)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack([u, v], dim=-1).flatten(0, 1)
    around = whole.long()[:, :, None] + offsets
    columns, rows = around[..., 0].clamp(0, width - 1), around[..., 1].clamp(0, height - 1)
    weights = probability.flatten(1).gather(1, (rows * width + columns).flatten(1)).view_as(columns)
    return (weights[..., None] * offsets).sum(dim=2) / weights.sum(dim=2, keepdim=True).clamp(min=1e-9)

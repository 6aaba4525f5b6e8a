"""Keypoints of a view: the best place of each 8x8 cell, and of all cells the best, with their descriptors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.xfeat_encoder import CELL, XFeatMaps

NEIGHBOURHOOD = 2  # pixels; of two keypoints as near as that the weaker one is dropped
WINDOW = 1  # pixels around a keypoint by which its place is made exact
DROPPED = 1e-3  # factor of a dropped keypoint's score: it is taken where there are no others


class Keypoints(NamedTuple):
    """The N best keypoints of each view.

    Attributes:
        cells: (B, N) index of their cells at stride 8, row by row, ascending.
        pixels: (B, N, 2) columns and rows in the network's input image, fractional.
        descriptors: (B, N, D), unit.
    """

    cells: Tensor
    pixels: Tensor
    descriptors: Tensor


def find_keypoints(maps: XFeatMaps, count: int) -> Keypoints:
    """The ``count`` best keypoints of each view, at most one of each cell."""
    with full_precision(maps.keypoint_logits):
        probability = maps.keypoint_logits.float().softmax(dim=1)[:, :-1]
        best, place = probability.max(dim=1)
        places = _pixels_of_cells(place)
        scores = best * sample(maps.reliability.float(), places.flatten(1, 2)).view_as(best)
        scores = torch.where(_stronger_nearby(best, places), DROPPED * scores, scores).flatten(1)
        cells = scores.topk(min(count, scores.shape[1]), dim=1).indices.sort(dim=1).values
        whole = _picked(places.flatten(1, 2), cells)
        pixels = whole + _offsets(functional.pixel_shuffle(probability, CELL)[:, 0], whole)
        descriptors = functional.normalize(sample(maps.descriptors.float(), pixels), dim=2)
    return Keypoints(cells, pixels, descriptors)


def sample(cells: Tensor, pixels: Tensor) -> Tensor:
    """Values (B, N, C) at pixels (B, N, 2) of the input image, of a map (B, C, H/8, W/8), bilinearly."""
    height, width = cells.shape[-2:]
    size = pixels.new_tensor([CELL * width, CELL * height])
    grid = (2.0 * pixels + 1.0) / size - 1.0
    found = functional.grid_sample(cells, grid[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)


def _pixels_of_cells(place: Tensor) -> Tensor:
    """Pixels (B, H/8, W/8, 2) of places (B, H/8, W/8) in cells, counted row by row."""
    rows, columns = (torch.arange(size, device=place.device) for size in place.shape[-2:])
    u = CELL * columns[None, None, :] + place % CELL
    v = CELL * rows[None, :, None] + place // CELL
    return torch.stack([u, v], dim=-1).float()


def _stronger_nearby(best: Tensor, places: Tensor) -> Tensor:
    """Whether a neighbouring cell has a stronger keypoint within NEIGHBOURHOOD: bool (B, H/8, W/8)."""
    height, width = best.shape[-2:]
    scores = functional.pad(best, (1, 1, 1, 1))
    padded = functional.pad(places, (0, 0, 1, 1, 1, 1), value=-2.0 * CELL)
    found = torch.zeros_like(best, dtype=torch.bool)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        window = (slice(None), slice(row, row + height), slice(column, column + width))
        near = ((padded[window] - places).abs() <= NEIGHBOURHOOD).all(dim=-1)
        found |= near & (scores[window] > best)
    return found


def _offsets(probability: Tensor, whole: Tensor) -> Tensor:
    """Mean offset (B, N, 2) of the probability (B, H, W) in a window around whole pixels (B, N, 2)."""
    height, width = probability.shape[-2:]
    steps = torch.arange(-WINDOW, WINDOW + 1, device=whole.device)
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack([u, v], dim=-1).flatten(0, 1)
    around = whole.long()[:, :, None] + offsets
    columns, rows = around[..., 0].clamp(0, width - 1), around[..., 1].clamp(0, height - 1)
    weights = probability.flatten(1).gather(1, (rows * width + columns).flatten(1)).view_as(columns)
    return (weights[..., None] * offsets).sum(dim=2) / weights.sum(dim=2, keepdim=True).clamp(min=1e-9)


def _picked(values: Tensor, index: Tensor) -> Tensor:
    """Entries (B, N, C) of values (B, K, C) by index (B, N)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))

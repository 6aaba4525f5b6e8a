"""Refinement of the soft correspondence from about a cell to a fraction of a cell.

The descriptor of each point is compared with those of the other view in a window around its match, at stride
4 and then at stride 2. As in attention, a learned residual is added to the similarity of the encoder's
features. The softmax over the window gives a step; a small network corrects it, given also the steps of
neighbouring cells, and predicts the standard deviation of the match. Occluded points and low-texture regions
get a large standard deviation, by which the pose solver weights matches (beyond the paper).
Sources: Sun et al., "LoFTR", 2021 (softmax over a window); Teed and Deng, "RAFT", 2020 (look-up).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import DETAIL_LEARNED, DETAIL_STRIDES, Features, FeedForward, resize_to
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import intrinsics_at_stride, pixels_to_plane, plane_to_pixels
from iup_pose_ros.model.sigma_bounds import bounded_sigma

RADIUS = 1  # cells, radius of the window
WINDOW = (2 * RADIUS + 1) ** 2
HIDDEN = 48
TEMPERATURE = 35.0  # initial softmax scale of cosines; best for untrained features
TYPICAL_SIGMA = 0.01  # radians
MINIMUM_SIGMA, MAXIMUM_SIGMA = 1e-4, 1.0  # radians
MINIMUM_CONFIDENCE = 1e-3
MINIMUM_FORWARD = 0.1  # z of a unit ray below which its projection is not meaningful


class MatchRefinement(nn.Module):
    """Refinement of rays; ``spread`` becomes the predicted standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(RefinementRound(stride) for stride in DETAIL_STRIDES)

    def forward(
        self, coarse: SoftCorrespondence, features_0: Features, features_1: Features
    ) -> tuple[SoftCorrespondence, ...]:
        """Return the correspondence after every round; the last one is the best."""
        found = [coarse]
        for refine in self.rounds:
            found.append(refine(found[-1], features_0, features_1))
        return tuple(found[1:])


class RefinementRound(nn.Module):
    """Refinement at one stride."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self.enter = nn.Conv2d(WINDOW + DETAIL_LEARNED + 5, HIDDEN, 1)
        self.agree = FeedForward(HIDDEN)
        self.leave = nn.Conv2d(HIDDEN, 3, 1)
        nn.init.normal_(self.leave.weight, std=0.01)  # initial corrections are small

    def forward(
        self, found: SoftCorrespondence, features_0: Features, features_1: Features
    ) -> SoftCorrespondence:
        """Return the correspondence with refined rays and their standard deviations."""
        return SoftCorrespondence(
            self._refined(found.view_0, features_0, features_1),
            self._refined(found.view_1, features_1, features_0),
            found.logits,
        )

    def _refined(self, matches: MatchedRays, own: Features, other: Features) -> MatchedRays:
        K = intrinsics_at_stride(other.intrinsics, self.stride)
        start = matches.matched.detach()
        with full_precision(start):
            positions = project(start, K)
            # Descriptors at cell centres, with similarity and learned part weighted.
            at_centres = resize_to(self._detail(own).float(), matches.spread)
            similarity, learned = at_centres[:, :-DETAIL_LEARNED], at_centres[:, -DETAIL_LEARNED:]
            similarity = self.temperature * functional.normalize(similarity, dim=1)
            queries = torch.cat([similarity, learned / math.sqrt(DETAIL_LEARNED)], dim=1)
            logits = correlations(queries, self._detail(other).float(), positions)
            attention = logits.softmax(dim=1)
            step = torch.einsum("bkhw,kc->bchw", attention, window_offsets(positions))
            peak = logits.amax(dim=1, keepdim=True) / self.temperature
            prior = [(matches.spread / TYPICAL_SIGMA).log(), (matches.confidence + MINIMUM_CONFIDENCE).log()]
        x = self.enter(torch.cat([attention, queries[:, -DETAIL_LEARNED:], step, peak, *prior], dim=1))
        correction = self.leave(functional.gelu(x + self.agree(x))).float()
        with full_precision(start):
            log_sigma = matches.spread.log() + correction[:, 2:]
            sigma = bounded_sigma(log_sigma, MINIMUM_SIGMA, MAXIMUM_SIGMA)
            matched = back_project(positions + step + correction[:, :2], K)
        return matches._replace(matched=matched, spread=sigma)

    def _detail(self, features: Features) -> Tensor:
        detail: Tensor = getattr(features, f"detail_{self.stride}")
        return detail


def window_offsets(like: Tensor) -> Tensor:
    """Return column and row offsets (WINDOW, 2) of a window's cells from its centre, row by row."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)


def correlations(queries: Tensor, detail: Tensor, positions: Tensor) -> Tensor:
    """Compute inner products (B, WINDOW, H, W) of queries with the descriptors around their matches.

    Args:
        queries: (B, D, H, W).
        detail: (B, D, H_d, W_d), descriptors of the other view.
        positions: (B, 2, H, W), sub-cell columns and rows of the matches in ``detail``.
    """
    height, width = detail.shape[-2:]
    corner = positions.floor()
    right, down = (positions - corner).flatten(2)[..., None, None].unbind(dim=1)
    steps = torch.arange(-RADIUS, RADIUS + 2, device=positions.device)
    columns = (corner[:, 0].flatten(1)[:, :, None].long() + steps).clamp(0, width - 1)
    rows = (corner[:, 1].flatten(1)[:, :, None].long() + steps).clamp(0, height - 1)
    image = torch.arange(len(detail), device=positions.device)[:, None, None, None] * height
    cells = (image + rows[..., :, None]) * width + columns[..., None, :]
    # Interpolating inner products is much faster than interpolating descriptors, and equal by linearity.
    around = functional.embedding(cells.flatten(2), detail.movedim(1, -1).reshape(-1, detail.shape[1]))
    products = (around @ queries.flatten(2).transpose(1, 2)[..., None])[..., 0].float()
    products = products.unflatten(2, (len(steps), len(steps)))
    products = (1.0 - right) * products[..., :-1] + right * products[..., 1:]
    products = (1.0 - down) * products[..., :-1, :] + down * products[..., 1:, :]
    return products.flatten(2).transpose(1, 2).unflatten(2, queries.shape[-2:])


def project(rays: Tensor, K: Tensor) -> Tensor:
    """Project unit rays (B, 3, H, W) to cells (B, 2, H, W) of a grid with camera matrices (B, 3, 3)."""
    plane = rays[:, :2] / rays[:, 2:].clamp(min=MINIMUM_FORWARD)
    return plane_to_pixels(plane, K)


def back_project(cells: Tensor, K: Tensor) -> Tensor:
    """Return unit rays (B, 3, H, W) through cells (B, 2, H, W)."""
    plane = pixels_to_plane(cells, K)
    return functional.normalize(torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1), dim=1)

"""Refinement of the soft correspondence: attention knows to about a cell where a point went, this exactly.

Around each match the other view's descriptors are compared with the point's own, at stride 4 and then at
stride 2. As in attention the similarity of the encoder's features counts from the start and what is learned
comes on top: a softmax over the window gives a step, and a small network that sees it, the neighbours' too,
corrects the step and says how sure the match is. What no step can mend (hidden points, plain surfaces) gets a
large deviation, which the pose solver goes by (beyond the paper).
Sources: Sun et al., "LoFTR", 2021 (softmax over a window); Teed and Deng, "RAFT", 2020 (look-up).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import DETAIL_LEARNED, DETAIL_STRIDES, Features, FeedForward, resize_to
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.deviations import bounded_sigma
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import intrinsics_at_stride, off_image, onto_image

RADIUS = 1  # of the window, cells
WINDOW = (2 * RADIUS + 1) ** 2
HIDDEN = 48
TEMPERATURE = 35.0  # of a softmax over cosines; untrained features match best at about it
TYPICAL_SIGMA = 0.01  # radians
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-4, 1.0  # radians
LEAST_CONFIDENCE = 1e-3
LEAST_FORWARD = 0.1  # of a unit ray: beyond, it meets no meaningful cell


class MatchRefinement(nn.Module):
    """SoftCorrespondence -> the same with exact rays, whose ``spread`` is the predicted deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = nn.ModuleList(RefinementRound(stride) for stride in DETAIL_STRIDES)

    def forward(
        self, coarse: SoftCorrespondence, features_0: Features, features_1: Features
    ) -> tuple[SoftCorrespondence, ...]:
        """The correspondence after every round; the last is the best."""
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
        nn.init.normal_(self.leave.weight, std=0.01)  # first corrections are small

    def forward(
        self, found: SoftCorrespondence, features_0: Features, features_1: Features
    ) -> SoftCorrespondence:
        """The correspondence with refined rays and their deviations."""
        return SoftCorrespondence(
            self._refined(found.view_0, features_0, features_1),
            self._refined(found.view_1, features_1, features_0),
            found.logits,
        )

    def _refined(self, matches: MatchedRays, own: Features, other: Features) -> MatchedRays:
        K = intrinsics_at_stride(other.intrinsics, self.stride)
        start = matches.matched.detach()
        with full_precision(start):
            places = project(start, K)
            queries = self._queries(self._detail(own).float(), like=matches.spread)
            logits = correlations(queries, self._detail(other).float(), places)
            attention = logits.softmax(dim=1)
            step = torch.einsum("bkhw,kc->bchw", attention, window_offsets(places))
            peak = logits.amax(dim=1, keepdim=True) / self.temperature
            told = [(matches.spread / TYPICAL_SIGMA).log(), (matches.confidence + LEAST_CONFIDENCE).log()]
        x = self.enter(torch.cat([attention, queries[:, -DETAIL_LEARNED:], step, peak, *told], dim=1))
        correction = self.leave(functional.gelu(x + self.agree(x))).float()
        with full_precision(start):
            log_sigma = matches.spread.log() + correction[:, 2:]
            sigma = bounded_sigma(log_sigma, SMALLEST_SIGMA, LARGEST_SIGMA)
            matched = back_project(places + step + correction[:, :2], K)
        return matches._replace(matched=matched, spread=sigma)

    def _detail(self, features: Features) -> Tensor:
        detail: Tensor = getattr(features, f"detail_{self.stride}")
        return detail

    def _queries(self, detail: Tensor, like: Tensor) -> Tensor:
        """Descriptors (B, D, H, W) at the centres of cells, with the weights of both of their parts."""
        at_centres = resize_to(detail, like)
        similarity, learned = at_centres[:, :-DETAIL_LEARNED], at_centres[:, -DETAIL_LEARNED:]
        similarity = self.temperature * functional.normalize(similarity, dim=1)
        return torch.cat([similarity, learned / math.sqrt(DETAIL_LEARNED)], dim=1)


def window_offsets(like: Tensor) -> Tensor:
    """Columns and rows (WINDOW, 2) of a window's cells, from its middle, row by row."""
    steps = torch.arange(-RADIUS, RADIUS + 1, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)


def correlations(queries: Tensor, detail: Tensor, places: Tensor) -> Tensor:
    """Inner products (B, WINDOW, H, W) of queries with descriptors around places.

    Args:
        queries: (B, D, H, W).
        detail: (B, D, H_d, W_d), the other view's descriptors.
        places: (B, 2, H, W), fractional columns and rows in ``detail``.
    """
    height, width = detail.shape[-2:]
    corner = places.floor()
    right, down = (places - corner).flatten(2)[..., None, None].unbind(dim=1)
    steps = torch.arange(-RADIUS, RADIUS + 2, device=places.device)
    columns = (corner[:, 0].flatten(1)[:, :, None].long() + steps).clamp(0, width - 1)
    rows = (corner[:, 1].flatten(1)[:, :, None].long() + steps).clamp(0, height - 1)
    image = torch.arange(len(detail), device=places.device)[:, None, None, None] * height
    cells = (image + rows[..., :, None]) * width + columns[..., None, :]
    # Whole descriptors are looked up, and their products interpolated: much faster than to interpolate them.
    around = functional.embedding(cells.flatten(2), detail.movedim(1, -1).reshape(-1, detail.shape[1]))
    products = (around @ queries.flatten(2).transpose(1, 2)[..., None])[..., 0].float()
    products = products.unflatten(2, (len(steps), len(steps)))
    products = (1.0 - right) * products[..., :-1] + right * products[..., 1:]
    products = (1.0 - down) * products[..., :-1, :] + down * products[..., 1:, :]
    return products.flatten(2).transpose(1, 2).unflatten(2, queries.shape[-2:])


def project(rays: Tensor, K: Tensor) -> Tensor:
    """Cells (B, 2, H, W) that unit rays (B, 3, H, W) meet, camera matrices (B, 3, 3) of the cells' grid."""
    plane = rays[:, :2] / rays[:, 2:].clamp(min=LEAST_FORWARD)
    return onto_image(plane, K)


def back_project(cells: Tensor, K: Tensor) -> Tensor:
    """Unit rays (B, 3, H, W) through cells (B, 2, H, W)."""
    plane = off_image(cells, K)
    return functional.normalize(torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1), dim=1)

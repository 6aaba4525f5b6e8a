"""Soft correspondence: for every cell of one view the ray of the other view that attention finds for it.

The finest attention of IDA (stride 8), one head, whose values are viewing rays. It is what the auxiliary loss
supervises, what the decoders see as geometry, and what other estimators start from (beyond the paper).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import (
    MATCH_STRIDE,
    SIMILARITY_TEMPERATURE,
    Features,
    inner_products,
    resize_to,
)
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays


class MatchedRays(NamedTuple):
    """Matches of one view's cells.

    Attributes:
        own: unit rays (B, 3, H, W) of the cells, in their own camera's frame.
        matched: unit rays (B, 3, H, W) of what the cells show, in the other camera's frame.
        confidence: (B, 1, H, W) in [0, 1], probability of coming back by the other view's attention.
        spread: (B, 1, H, W), standard deviation of the matched ray, radians: square root of the attention's
            angular variance, in [0, 1]; behind ``MatchRefinement`` the predicted one, per axis.
    """

    own: Tensor
    matched: Tensor
    confidence: Tensor
    spread: Tensor


class SoftCorrespondence(NamedTuple):
    """Matches of both views at stride 8 and the attention's logits (B, N_0, N_1) behind them."""

    view_0: MatchedRays
    view_1: MatchedRays
    logits: Tensor


class CorrespondenceHead(nn.Module):
    """Raw similarity of the encoder's features plus a learned residual -> SoftCorrespondence."""

    def __init__(self, channels: int, match_dim: int) -> None:
        super().__init__()
        self.aligned = nn.Conv2d(channels, match_dim, 1)
        self.mix = nn.Conv2d(match_dim, match_dim, 3, 1, 1, groups=match_dim)
        self.descriptor = nn.Conv2d(match_dim, match_dim, 1)
        self.temperature = nn.Parameter(torch.tensor(SIMILARITY_TEMPERATURE))

    def forward(
        self, features_0: Features, features_1: Features, aligned_0: Tensor, aligned_1: Tensor
    ) -> SoftCorrespondence:
        """``aligned_*``: IDA's tokens (B, C, H/16, W/16)."""
        descriptors_0 = self._descriptors(features_0, aligned_0) / math.sqrt(self.descriptor.out_channels)
        descriptors_1 = self._descriptors(features_1, aligned_1)
        both_0 = torch.cat([descriptors_0, self.temperature * features_0.similarity_8], dim=1)
        both_1 = torch.cat([descriptors_1, features_1.similarity_8], dim=1)
        with full_precision(both_0):
            logits = inner_products(both_0.float(), both_1.float())
        return match_rays(logits, features_0, features_1)

    def _descriptors(self, features: Features, aligned: Tensor) -> Tensor:
        x = features.fine + resize_to(self.aligned(aligned), features.fine)
        return self.descriptor(functional.gelu(self.mix(x)))


def match_rays(logits: Tensor, features_0: Features, features_1: Features) -> SoftCorrespondence:
    """What the attention of logits (B, N_0, N_1) finds."""
    with full_precision(logits):
        attention_0, attention_1 = logits.softmax(dim=2), logits.softmax(dim=1)
        mutual = attention_0 * attention_1
        rays_0, rays_1 = _cell_rays(features_0), _cell_rays(features_1)
        mean_0 = _bring(attention_0.transpose(1, 2), rays_1, rays_0)
        mean_1 = _bring(attention_1, rays_0, rays_1)
        view_0 = _matched_rays(rays_0, mean_0, mutual.sum(dim=2))
        view_1 = _matched_rays(rays_1, mean_1, mutual.sum(dim=1))
    return SoftCorrespondence(view_0, view_1, logits)


def _cell_rays(features: Features) -> Tensor:
    height, width = features.fine.shape[-2:]
    return unit_rays(intrinsics_at_stride(features.intrinsics, MATCH_STRIDE), height, width)


def _bring(weights: Tensor, rays: Tensor, like: Tensor) -> Tensor:
    """Weighted means (B, 3, H, W) of rays; weights (B, N_from, N_to), columns sum to 1."""
    return (rays.flatten(2) @ weights).view_as(like)


def _matched_rays(own: Tensor, mean: Tensor, confidence: Tensor) -> MatchedRays:
    """The mean of unit rays is the shorter, the wider they spread: E|r - m|^2 = 1 - |m|^2."""
    squared = mean.square().sum(dim=1, keepdim=True)
    spread = (1.0 - squared).clamp(min=1e-8).sqrt()
    matched = mean * (squared + 1e-12).rsqrt()
    return MatchedRays(own, matched, confidence.view_as(spread), spread)

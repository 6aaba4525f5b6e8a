"""Soft correspondence: the expected viewing ray in the other view for every cell of a view.

This is the finest attention of IDA (stride 8, one head) with viewing rays as values. The auxiliary loss
supervises it, the decoders use it as geometry, and other estimators use its matches (beyond the paper).
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
        own: unit rays (B, 3, H, W) of the cells, in the frame of their own camera.
        matched: unit rays (B, 3, H, W) of the corresponding points, in the frame of the other camera.
        confidence: (B, 1, H, W) in [0, 1], cycle-consistency probability of the attention of both views.
        spread: (B, 1, H, W), standard deviation of the matched ray, radians: square root of the attention's
            angular variance, in [0, 1]; after ``MatchRefinement`` the predicted one, per axis.
    """

    own: Tensor
    matched: Tensor
    confidence: Tensor
    spread: Tensor


class SoftCorrespondence(NamedTuple):
    """Matches of both views at stride 8 and the attention logits (B, N_0, N_1)."""

    view_0: MatchedRays
    view_1: MatchedRays
    logits: Tensor


class CorrespondenceHead(nn.Module):
    """Attention logits, raw feature similarity plus a learned residual, and their SoftCorrespondence."""

    def __init__(self, channels: int, match_dim: int) -> None:
        super().__init__()
        self.aligned = nn.Conv2d(channels, match_dim, 1)
        self.mix = nn.Conv2d(match_dim, match_dim, 3, 1, 1, groups=match_dim)
        self.descriptor = nn.Conv2d(match_dim, match_dim, 1)
        self.temperature = nn.Parameter(torch.tensor(SIMILARITY_TEMPERATURE))

    def forward(
        self, features_0: Features, features_1: Features, aligned_0: Tensor, aligned_1: Tensor
    ) -> SoftCorrespondence:
        """Return the soft correspondence, given the tokens (B, C, H/16, W/16) of IDA in ``aligned_*``."""
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
    """Return the soft correspondence of attention logits (B, N_0, N_1)."""
    with full_precision(logits):
        attention_0, attention_1 = logits.softmax(dim=2), logits.softmax(dim=1)
        mutual = attention_0 * attention_1
        rays_0, rays_1 = _cell_rays(features_0), _cell_rays(features_1)
        mean_0 = _weighted_means(attention_0.transpose(1, 2), rays_1, rays_0)
        mean_1 = _weighted_means(attention_1, rays_0, rays_1)
        view_0 = _matched_rays(rays_0, mean_0, mutual.sum(dim=2))
        view_1 = _matched_rays(rays_1, mean_1, mutual.sum(dim=1))
    return SoftCorrespondence(view_0, view_1, logits)


def _cell_rays(features: Features) -> Tensor:
    height, width = features.fine.shape[-2:]
    return unit_rays(intrinsics_at_stride(features.intrinsics, MATCH_STRIDE), height, width)


def _weighted_means(weights: Tensor, rays: Tensor, like: Tensor) -> Tensor:
    """Return weighted means (B, 3, H, W) of rays; weights (B, N_from, N_to), columns sum to 1."""
    return (rays.flatten(2) @ weights).view_as(like)


def _matched_rays(own: Tensor, mean: Tensor, confidence: Tensor) -> MatchedRays:
    """Return matches whose spread follows from the length of the mean ray: E|r - m|^2 = 1 - |m|^2."""
    squared = mean.square().sum(dim=1, keepdim=True)
    spread = (1.0 - squared).clamp(min=1e-8).sqrt()
    matched = mean * (squared + 1e-12).rsqrt()
    return MatchedRays(own, matched, confidence.view_as(spread), spread)

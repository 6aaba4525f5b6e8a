"""Implicit Dense Alignment (IDA, Fig. 2, part 2): SPPF on each view, then multi-head bi-cross attention.

The output features of each view include information of the corresponding cells of the other view. Attention
adds a learned residual to the similarity of the encoder's features, because the features of an ImageNet
encoder match across views without further training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.encoder import Channels, Pyramid
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays

TOKEN_STRIDE = 16
MATCH_STRIDE = 8
DETAIL_STRIDES = (4, 2)
DETAIL_LEARNED = 16  # number of learned descriptor channels at these strides
SIMILARITY_TEMPERATURE = 40.0  # initial softmax scale of cosines; best for untrained features


class Features(NamedTuple):
    """Features of one view. They do not depend on the other view, so those of a keyframe can be cached.

    Attributes:
        tokens: (B, C, H/16, W/16), output of SPPF with positional encoding.
        fine: (B, M, H/8, W/8), part of the matching descriptors that depends on this view only.
        detail_4, detail_2: (B, D, H/s, W/s), descriptors for match refinement (DetailBranch).
        similarity_16, similarity_8: unit encoder descriptors (B, D, H/s, W/s) for the raw similarity.
        intrinsics: camera matrix (B, 3, 3) of the network's input image.
    """

    tokens: Tensor
    fine: Tensor
    detail_4: Tensor
    detail_2: Tensor
    similarity_16: Tensor
    similarity_8: Tensor
    intrinsics: Tensor


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize (B, C, h, w) bilinearly to the height and width of ``like``."""
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def similarity_descriptors(features: Tensor) -> Tensor:
    """Return unit descriptors of features (B, D, H, W): subtract the mean over the image and normalise."""
    centred = features - features.mean(dim=(2, 3), keepdim=True)
    return functional.normalize(centred, dim=1, eps=1e-6)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SPPF(nn.Module):
    """Spatial pyramid pooling, fast: three chained 5x5 max poolings with fields of 5, 9 and 13 cells.

    (B, C_in, H, W) -> (B, C_out, H, W).
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        hidden = channels_in // 2
        self.reduce = nn.Conv2d(channels_in, hidden, 1)
        self.expand = nn.Conv2d(4 * hidden, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [functional.gelu(self.reduce(x))]
        for _ in range(3):
            pooled.append(functional.max_pool2d(pooled[-1], 5, 1, 2))
        return functional.gelu(self.expand(torch.cat(pooled, dim=1)))


class RayEncoding(nn.Module):
    """Positional encoding of viewing rays, independent of the camera: (B, 3, 3) -> (B, C, H, W)."""

    OCTAVES = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3 * (1 + 2 * self.OCTAVES), channels, 1)

    def forward(self, intrinsics: Tensor, height: int, width: int) -> Tensor:
        rays = unit_rays(intrinsics, height, width)
        phases = [math.pi * 2.0**octave * rays for octave in range(self.OCTAVES)]
        waves = [wave for phase in phases for wave in (phase.sin(), phase.cos())]
        return self.project(torch.cat([rays, *waves], dim=1))


class FeedForward(nn.Module):
    """MLP per cell with a depthwise 3x3 convolution between its layers: (B, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.mix = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1, groups=2 * channels)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(functional.gelu(self.mix(self.expand(x))))


class BiCrossAttention(nn.Module):
    """One layer of multi-head bi-cross attention (MHBC).

    One similarity matrix per head is used in both directions: a softmax over its columns weights the values
    of view 1 for view 0, a softmax over its rows those of view 0 for view 1. Inputs and outputs are
    (B, C, H_v, W_v), v = 0 and 1.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.descriptor = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.merge = nn.Conv2d(channels, channels, 1)
        self.norm_feed = ChannelNorm(channels)
        self.feed = FeedForward(channels)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), SIMILARITY_TEMPERATURE))

    def forward(self, x_0: Tensor, x_1: Tensor, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Update the tokens of both views.

        Args:
            x_0, x_1: tokens (B, C, H_v, W_v).
            similarity: (B, 1, N_0, N_1), cosine similarity of the encoder descriptors of all pairs of cells.
        """
        descriptor_0, value_0 = self._project(x_0)
        descriptor_1, value_1 = self._project(x_1)
        learned = descriptor_0 @ descriptor_1.transpose(-1, -2) / math.sqrt(descriptor_0.shape[-1])
        logits = learned + self.temperature * similarity
        message_0 = logits.softmax(dim=-1) @ value_1
        message_1 = logits.softmax(dim=-2).transpose(-1, -2) @ value_0
        return self._update(x_0, message_0), self._update(x_1, message_1)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return descriptors and values (B, heads, N, C / heads)."""
        normed = self.norm(x)
        return self._split(self.descriptor(normed)), self._split(self.value(normed))

    def _split(self, x: Tensor) -> Tensor:
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(-1, -2)

    def _update(self, x: Tensor, message: Tensor) -> Tensor:
        merged = message.transpose(-1, -2).reshape(x.shape)
        x = x + self.merge(merged)
        return x + self.feed(self.norm_feed(x))


class DetailBranch(nn.Module):
    """Descriptors for match refinement: encoder features of several strides and learned channels.

    Features (B, C_i, H_i, W_i), finest first -> (B, sum of C_i + learned, H_0, W_0). The encoder's channels
    form a unit descriptor.
    """

    def __init__(self, channels: Sequence[int], learned: int) -> None:
        super().__init__()
        self.learned = nn.Conv2d(sum(channels), learned, 1)

    def forward(self, *features: Tensor) -> Tensor:
        resized = [similarity_descriptors(resize_to(level, features[0])) for level in features]
        similarity = torch.cat(resized, dim=1) / math.sqrt(len(resized))
        return torch.cat([similarity, self.learned(similarity)], dim=1)


class FeatureNeck(nn.Module):
    """Single-view part of IDA: SPPF on the deepest features, top-down merging, positional encoding."""

    def __init__(self, encoder_channels: Channels, channels: int, match_dim: int) -> None:
        super().__init__()
        finest, finer, fine, middle, coarse = encoder_channels
        self.sppf = SPPF(coarse, channels)
        self.lateral_16 = nn.Conv2d(middle, channels, 1)
        self.merge_16 = FeedForward(channels)
        self.position = RayEncoding(channels)
        self.lateral_8 = nn.Conv2d(fine, match_dim, 1)
        self.detail_4 = DetailBranch((finer, fine), DETAIL_LEARNED)
        self.detail_2 = DetailBranch((finest, finer, fine), DETAIL_LEARNED)

    def forward(self, pyramid: Pyramid, intrinsics: Tensor) -> Features:
        """Return the features of a view, given its encoder pyramid and camera matrix (B, 3, 3)."""
        stride_2, stride_4, stride_8, stride_16, stride_32 = pyramid
        tokens = self.lateral_16(stride_16) + resize_to(self.sppf(stride_32), stride_16)
        tokens = tokens + self.merge_16(tokens)
        position = self.position(intrinsics_at_stride(intrinsics, TOKEN_STRIDE), *tokens.shape[-2:])
        both = [similarity_descriptors(stride_8), similarity_descriptors(resize_to(stride_16, stride_8))]
        return Features(
            tokens=tokens + position,
            fine=self.lateral_8(stride_8),
            detail_4=self.detail_4(stride_4, stride_8),
            detail_2=self.detail_2(stride_2, stride_4, stride_8),
            similarity_16=similarity_descriptors(stride_16),
            similarity_8=torch.cat(both, dim=1) / math.sqrt(2.0),
            intrinsics=intrinsics,
        )


class ImplicitDenseAlignment(nn.Module):
    """Two-view part of IDA: MHBC layers."""

    def __init__(self, channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BiCrossAttention(channels, heads) for _ in range(layers))

    def forward(self, features_0: Features, features_1: Features) -> tuple[Tensor, Tensor]:
        """Return the aligned tokens (B, C, H/16, W/16) of both views."""
        similarity = inner_products(features_0.similarity_16, features_1.similarity_16)[:, None]
        x_0, x_1 = features_0.tokens, features_1.tokens
        for layer in self.layers:
            x_0, x_1 = layer(x_0, x_1, similarity)
        return x_0, x_1


def inner_products(descriptors_0: Tensor, descriptors_1: Tensor) -> Tensor:
    """Return the inner products (B, N_0, N_1) of all cells of (B, D, H_0, W_0) and (B, D, H_1, W_1)."""
    return descriptors_0.flatten(2).transpose(1, 2) @ descriptors_1.flatten(2)

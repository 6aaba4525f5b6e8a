"""Image encoder for matching with the architecture of ALIKED-N16, to start from its weights.

Features of strides 1, 2, 8 and 32, of 32 channels each. A score head on all of them at full resolution finds
keypoints. The descriptor of a keypoint combines the features at 16 positions around it, whose offsets are
estimated from its neighbourhood. Coarse features are never upsampled to full resolution: the first layer of
the score head is linear, so it runs at each stride, and descriptors sample every stride by itself.
Source: Zhao et al., "ALIKED: A lighter keypoint and descriptor extraction network via deformable
transformation", IEEE Transactions on Instrumentation and Measurement, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.deformable_convolution import deform_conv2d
from iup_pose_ros.model.keypoints import CELL, KeypointMaps
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.rays import vector_like

STRIDES = (1, 2, 8, 32)
CHANNELS = (16, 32, 64, 128)
SCORE_CHANNELS = 8
POSITIONS = 16  # sampled around a keypoint for its descriptor
PATCH = 3  # pixels across the neighbourhood from which their offsets are estimated
BORDER = 2  # pixels without keypoints at the edge of the image
PEAK_WIDTH = 0.1  # difference of scores by which the weight in a sub-pixel mean falls by e


class DeformableConvolution(nn.Module):
    """Convolution (3x3) whose taps are displaced by estimated offsets."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels_in, 2 * 9, 3, padding=1)
        self.taps = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        limit = max(x.shape[-2:]) / 4.0
        offset = self.offset(x).clamp(-limit, limit)
        with full_precision(x):
            return deform_conv2d(x.float(), offset.float(), self.taps.weight, padding=(1, 1))


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation beside a linear shortcut."""

    def __init__(self, channels_in: int, channels_out: int, convolution: type[nn.Module]) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels_out)
        self.first_norm = nn.BatchNorm2d(channels_out)
        self.second = convolution(channels_out, channels_out)
        self.second_norm = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.selu(self.first_norm(self.first(x)), inplace=True)
        inner = self.second_norm(self.second(inner))
        inner += self.shortcut(x)
        return functional.selu(inner, inplace=True)


class Convolution(nn.Conv2d):
    """Plain convolution (3x3)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)


class AlikedEncoder(nn.Module):
    """Encoder of images (B, 3, H, W) in [0, 1], H and W multiples of 32.

    Attributes:
        descriptor_size, position_radius, describes_any_point: see ``XFeatEncoder``.
    """

    descriptor_size = 128
    position_radius = 2
    describes_any_point = False

    def __init__(self) -> None:
        super().__init__()
        size, share = self.descriptor_size, self.descriptor_size // len(STRIDES)
        self.stem = nn.Sequential(
            Convolution(3, CHANNELS[0]),
            nn.BatchNorm2d(CHANNELS[0]),
            nn.SELU(inplace=True),
            Convolution(CHANNELS[0], CHANNELS[0]),
            nn.BatchNorm2d(CHANNELS[0]),
            nn.SELU(inplace=True),
        )
        kinds = (Convolution, DeformableConvolution, DeformableConvolution)
        self.stages = nn.ModuleList(
            ResidualBlock(channels_in, channels_out, kind)
            for channels_in, channels_out, kind in zip(CHANNELS[:-1], CHANNELS[1:], kinds, strict=True)
        )
        self.levels = nn.ModuleList(nn.Conv2d(channels, share, 1, bias=False) for channels in CHANNELS)
        self.score_entry = nn.Conv2d(size, SCORE_CHANNELS, 1, bias=False)
        self.score = nn.Sequential(
            nn.SELU(inplace=True),
            nn.Conv2d(SCORE_CHANNELS, 4, 3, padding=1, bias=False),
            nn.SELU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            nn.SELU(inplace=True),
            nn.Conv2d(4, 1, 3, padding=1, bias=False),
        )
        self.offsets = nn.Sequential(
            nn.Linear(size * PATCH**2, 2 * POSITIONS), nn.SELU(), nn.Linear(2 * POSITIONS, 2 * POSITIONS)
        )
        self.at_position = nn.Linear(size, size, bias=False)
        self.combination = nn.Linear(POSITIONS * size, size, bias=False)

    def forward(self, images: Tensor) -> KeypointMaps:
        x = self.stem(images)
        levels = [functional.selu(self.levels[0](x), inplace=True)]
        for i, stage in enumerate(self.stages):
            x = stage(functional.avg_pool2d(x, STRIDES[i + 1] // STRIDES[i]))
            levels.append(functional.selu(self.levels[i + 1](x), inplace=True))
        with full_precision(images):  # sub-pixel positions are means by these scores
            scores = self._scores([level.float() for level in levels])
        weights = ((scores - 1.0) / PEAK_WIDTH).exp()
        return KeypointMaps(scores, weights, None, tuple(levels))

    def _scores(self, levels: Sequence[Tensor]) -> Tensor:
        """Return scores (B, H, W) of keypoints in [0, 1], 0 at the border."""
        size = levels[0].shape[-2:]
        entries = zip(levels, self.score_entry.weight.chunk(len(levels), dim=1), strict=True)
        first, *coarser = (functional.conv2d(level, weight) for level, weight in entries)
        for part in coarser:
            first += functional.interpolate(part, size=size, mode="bilinear", align_corners=True)
        scores = self.score(first)[:, 0].sigmoid()
        inside = slice(BORDER, -BORDER)
        return functional.pad(scores[:, inside, inside], (BORDER,) * 4)

    def describe(self, maps: KeypointMaps, pixels: Tensor) -> Tensor:
        """Return descriptors (B, N, 128), not normalised, of keypoints at pixels (B, N, 2)."""
        height, width = maps.scores.shape[-2:]
        step = torch.arange(PATCH, device=pixels.device) - PATCH // 2
        neighbours = torch.stack([step.repeat(PATCH), step.repeat_interleave(PATCH)], dim=1)
        edge = vector_like(pixels, width - 1, height - 1)
        centre = pixels.floor().clamp(min=1).minimum(edge - 1.0)
        patches = _sampled(maps.levels, centre[:, :, None] + neighbours, edge)
        offsets = self.offsets(patches.flatten(2)).unflatten(2, (2, POSITIONS)).transpose(2, 3)
        limit = max(height, width) / 4.0
        positions = pixels[:, :, None] + offsets.clamp(-limit, limit)
        features = functional.selu(self.at_position(_sampled(maps.levels, positions, edge)), inplace=True)
        return self.combination(features.flatten(2))

    def describe_cells(self, maps: KeypointMaps) -> Tensor:
        """Return descriptors (B, 128, H/8, W/8), not normalised, of all cells."""
        size = (maps.scores.shape[-2] // CELL, maps.scores.shape[-1] // CELL)
        return torch.cat([functional.adaptive_avg_pool2d(level, size) for level in maps.levels], dim=1)


def _sampled(levels: Sequence[Tensor], pixels: Tensor, edge: Tensor) -> Tensor:
    """Interpolate the features of all strides at pixels (B, N, P, 2): unit vectors (B, N, P, 128)."""
    grid = 2.0 * pixels / edge - 1.0
    found = [functional.grid_sample(level.float(), grid, align_corners=True) for level in levels]
    return functional.normalize(torch.cat([part.permute(0, 2, 3, 1) for part in found], dim=3), dim=3)

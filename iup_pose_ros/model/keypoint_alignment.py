"""MHBC on keypoints: layers of self-attention and bi-directional cross-attention, then an assignment.

The architecture is that of LightGlue, so that LighterGlue's published weights are a start. Attention within a
view knows where keypoints lie to each other (rotary encoding of positions relative to the longer side).
Sources: Lindenberger et al., "LightGlue: Local feature matching at light speed", 2023; Su et al., "RoFormer",
2021 (rotary encoding).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision


class Assignment(NamedTuple):
    """Which keypoints of two views show the same point.

    Attributes:
        log_probability: (B, N_0, N_1), that two keypoints match each other.
        log_matchable_0, log_matchable_1: logits (B, N_0) and (B, N_1) that a keypoint has a match at all.
    """

    log_probability: Tensor
    matchable_0: Tensor
    matchable_1: Tensor


class RotaryPosition(nn.Module):
    """Cosines and sines (B, 1, N, C / 2) of learned frequencies of positions (B, N, 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequencies = nn.Linear(2, channels // 2, bias=False)
        nn.init.normal_(self.frequencies.weight)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision(positions):
            phases = self.frequencies(positions.float())[:, None]
            return phases.cos(), phases.sin()


def rotated(x: Tensor, position: tuple[Tensor, Tensor]) -> Tensor:
    """Vectors (B, heads, N, C), channel i and i + C / 2 turned by the angle of frequency i."""
    cosine, sine = position
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Update(nn.Module):
    """Tokens (B, N, C) and a message for each of them -> the tokens' next state."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feed = nn.Sequential(
            nn.Linear(2 * channels, 2 * channels),
            nn.LayerNorm(2 * channels),
            nn.GELU(),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, x: Tensor, message: Tensor) -> Tensor:
        updated: Tensor = x + self.feed(torch.cat([x, message], dim=-1))
        return updated


class SelfAttention(nn.Module):
    """Attention among the keypoints of one view: (B, N, C) -> (B, N, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(channels, 3 * channels)
        self.merge = nn.Linear(channels, channels)
        self.update = Update(channels)

    def forward(self, x: Tensor, position: tuple[Tensor, Tensor]) -> Tensor:
        query, key, value = (_split(part, self.heads) for part in self.project(x).chunk(3, dim=-1))
        query, key = (rotated(part, position).to(value.dtype) for part in (query, key))
        message = functional.scaled_dot_product_attention(query, key, value)
        return self.update(x, self.merge(_joined(message)))


class CrossAttention(nn.Module):
    """Attention between the keypoints of both views, each way: (B, N_v, C) -> (B, N_v, C), v = 0 and 1."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.descriptor = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.merge = nn.Linear(channels, channels)
        self.update = Update(channels)

    def forward(self, x_0: Tensor, x_1: Tensor) -> tuple[Tensor, Tensor]:
        key_0, key_1 = (_split(self.descriptor(x), self.heads) for x in (x_0, x_1))
        value_0, value_1 = (_split(self.value(x), self.heads) for x in (x_0, x_1))
        message_0 = functional.scaled_dot_product_attention(key_0, key_1, value_1)
        message_1 = functional.scaled_dot_product_attention(key_1, key_0, value_0)
        return (
            self.update(x_0, self.merge(_joined(message_0))),
            self.update(x_1, self.merge(_joined(message_1))),
        )


class KeypointAlignment(nn.Module):
    """Descriptors and positions of both views' keypoints -> their aligned tokens and the assignment.

    Args:
        descriptor_size: channels D of the descriptors.
        channels: C, of the tokens.
        heads: of attention.
        layers: of self- and cross-attention.
    """

    def __init__(self, descriptor_size: int, channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(descriptor_size, channels)
        self.position = RotaryPosition(channels // heads)
        self.within = nn.ModuleList(SelfAttention(channels, heads) for _ in range(layers))
        self.across = nn.ModuleList(CrossAttention(channels, heads) for _ in range(layers))
        self.descriptor = nn.Linear(channels, channels)
        self.matchable = nn.Linear(channels, 1)

    def forward(
        self, descriptors_0: Tensor, positions_0: Tensor, descriptors_1: Tensor, positions_1: Tensor
    ) -> tuple[Tensor, Tensor, Assignment]:
        """Unit descriptors (B, N_v, D); positions (B, N_v, 2) in units of half the longer side."""
        x_0, x_1 = self.enter(descriptors_0), self.enter(descriptors_1)
        position_0, position_1 = self.position(positions_0), self.position(positions_1)
        for within, across in zip(self.within, self.across, strict=True):
            x_0, x_1 = across(within(x_0, position_0), within(x_1, position_1))
        return x_0, x_1, self._assignment(x_0, x_1)

    def _assignment(self, x_0: Tensor, x_1: Tensor) -> Assignment:
        matchable_0, matchable_1 = (self.matchable(x)[..., 0].float() for x in (x_0, x_1))
        descriptors_0, descriptors_1 = (self.descriptor(x).float() for x in (x_0, x_1))
        with full_precision(descriptors_0):
            similarity = descriptors_0 @ descriptors_1.transpose(1, 2) / math.sqrt(x_0.shape[-1])
            log_probability = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1)
        certainty_0, certainty_1 = functional.logsigmoid(matchable_0), functional.logsigmoid(matchable_1)
        log_probability = log_probability + certainty_0[:, :, None] + certainty_1[:, None]
        return Assignment(log_probability, matchable_0, matchable_1)


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(B, heads, N, C / heads) -> (B, N, C)."""
    return x.transpose(1, 2).flatten(2)

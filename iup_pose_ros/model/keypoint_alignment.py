"""MHBC on keypoints: layers of self-attention and bidirectional cross-attention, then an assignment.

The architecture is that of LightGlue, so that training can start from the published weights of LighterGlue.
Self-attention uses a rotary encoding of keypoint positions relative to the longer image side.
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
from iup_pose_ros.model.ray_matches import chosen

UNPRUNED_LAYERS = 2  # number of layers before keypoints are pruned


class AlignedKeypoints(NamedTuple):
    """Keypoints of two views after alignment and pruning, and their assignment.

    Attributes:
        kept_0, kept_1: indices (B, n_v) of the keypoints that were kept, ascending.
        tokens_0, tokens_1: (B, n_v, C).
        log_probability: (B, n_0, n_1), log probability that two keypoints match.
        matchable_0, matchable_1: logits (B, n_v) of the probability that a keypoint has a match.
        pruning_0, pruning_1: the same for all N_v keypoints at the time of pruning, (B, N_v).
    """

    kept_0: Tensor
    kept_1: Tensor
    tokens_0: Tensor
    tokens_1: Tensor
    log_probability: Tensor
    matchable_0: Tensor
    matchable_1: Tensor
    pruning_0: Tensor
    pruning_1: Tensor


class RotaryPosition(nn.Module):
    """Cosines and sines (B, 1, N, C) of learned frequencies of positions (B, N, 2).

    The C / 2 frequencies come twice, with negative sines first, as ``apply_rotary_encoding`` uses them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequencies = nn.Linear(2, channels // 2, bias=False)
        nn.init.normal_(self.frequencies.weight)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision(positions):
            phases = self.frequencies(positions.float())[:, None]
            cosine, sine = phases.cos(), phases.sin()
            return torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1)


def apply_rotary_encoding(x: Tensor, position: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate channels i and i + C / 2 of vectors (B, heads, N, C) by the phase of frequency i."""
    cosine, sine = position
    return torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, dims=-1), sine)


class Update(nn.Module):
    """Residual update of tokens (B, N, C) by messages (B, N, C)."""

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


class MergingUpdate(nn.Module):
    """Update for inference whose first layer includes the linear layer that merges the heads' messages.

    Args:
        merge: the layer before the update.
        update: the update of merged messages.
    """

    def __init__(self, merge: nn.Module, update: nn.Module) -> None:
        super().__init__()
        assert isinstance(merge, nn.Linear)
        assert isinstance(update, Update)
        channels = merge.in_features
        first, *others = update.feed
        assert isinstance(first, nn.Linear)
        of_own, of_message = first.weight.detach().double().chunk(2, dim=1)
        self.own = nn.Linear(channels, 2 * channels)
        self.message = nn.Linear(channels, 2 * channels, bias=False)
        with torch.no_grad():
            self.own.weight.copy_(of_own)
            self.own.bias.copy_(first.bias + of_message @ merge.bias.double())
            self.message.weight.copy_(of_message @ merge.weight.double())
        self.rest = nn.Sequential(*others)

    def forward(self, x: Tensor, message: Tensor) -> Tensor:
        hidden = self.own(x)
        hidden += self.message(message)
        updated: Tensor = x + self.rest(hidden)
        return updated


class SelfAttention(nn.Module):
    """Attention among the keypoints of one view: (B, N, C) -> (B, N, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(channels, 3 * channels)
        self.merge: nn.Module = nn.Linear(channels, channels)
        self.update: nn.Module = Update(channels)

    def forward(self, x: Tensor, position: tuple[Tensor, Tensor]) -> Tensor:
        query, key, value = (_split(part, self.heads) for part in self.project(x).chunk(3, dim=-1))
        query, key = (apply_rotary_encoding(part, position).to(value.dtype) for part in (query, key))
        message = functional.scaled_dot_product_attention(query, key, value)
        return self.update(x, self.merge(_joined(message)))


class CrossAttention(nn.Module):
    """Attention between the keypoints of both views, in both directions: (B, N_v, C) -> same, v = 0 and 1."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.descriptor = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.merge: nn.Module = nn.Linear(channels, channels)
        self.update: nn.Module = Update(channels)

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
    """Alignment of the keypoints of two views: descriptors and positions -> AlignedKeypoints.

    After the first layers, keypoints that are unlikely to have a match are pruned.

    Args:
        descriptor_size: number of channels D of the descriptors.
        channels: number of channels C of the tokens.
        heads: number of attention heads.
        layers: number of layers of self- and cross-attention.
        kept: maximum number of keypoints of a view after pruning.
    """

    def __init__(self, descriptor_size: int, channels: int, heads: int, layers: int, kept: int) -> None:
        super().__init__()
        self.kept = kept
        self.enter = nn.Linear(descriptor_size, channels)
        self.position = RotaryPosition(channels // heads)
        self.within = nn.ModuleList(SelfAttention(channels, heads) for _ in range(layers))
        self.across = nn.ModuleList(CrossAttention(channels, heads) for _ in range(layers))
        self.descriptor = nn.Linear(channels, channels)
        self.promising = nn.Linear(channels, 1)
        self.matchable = nn.Linear(channels, 1)

    def forward(
        self, descriptors_0: Tensor, positions_0: Tensor, descriptors_1: Tensor, positions_1: Tensor
    ) -> AlignedKeypoints:
        """Align the keypoints.

        Args:
            descriptors_0, descriptors_1: (B, N_v, D), unit.
            positions_0, positions_1: (B, N_v, 2), relative to half the longer image side.
        """
        # With automatic precision, every sum of a residual connection would round the tokens again.
        x_0, x_1 = self.enter(descriptors_0).float(), self.enter(descriptors_1).float()
        x_0, x_1 = self._layers(slice(UNPRUNED_LAYERS), x_0, positions_0, x_1, positions_1)
        with full_precision(x_0):
            pruning_0, pruning_1 = (self.promising(x.detach())[..., 0] for x in (x_0, x_1))
        kept_0, kept_1 = self._kept(pruning_0), self._kept(pruning_1)
        x_0, positions_0 = chosen(x_0, kept_0), chosen(positions_0, kept_0)
        x_1, positions_1 = chosen(x_1, kept_1), chosen(positions_1, kept_1)
        x_0, x_1 = self._layers(slice(UNPRUNED_LAYERS, None), x_0, positions_0, x_1, positions_1)
        # Log assignment: dual softmax times both matchability probabilities.
        with full_precision(x_0):
            matchable_0, matchable_1 = (self.matchable(x)[..., 0] for x in (x_0, x_1))
            certain_0, certain_1 = functional.logsigmoid(matchable_0), functional.logsigmoid(matchable_1)
            descriptors_0, descriptors_1 = self.descriptor(x_0), self.descriptor(x_1)
            similarity = descriptors_0 @ descriptors_1.transpose(1, 2) / math.sqrt(x_0.shape[-1])
            best = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1)
            log_probability = best + certain_0[:, :, None] + certain_1[:, None]
        return AlignedKeypoints(
            kept_0, kept_1, x_0, x_1, log_probability, matchable_0, matchable_1, pruning_0, pruning_1
        )

    def _layers(
        self, part: slice, x_0: Tensor, positions_0: Tensor, x_1: Tensor, positions_1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens after some of the layers."""
        position_0, position_1 = self.position(positions_0), self.position(positions_1)
        for within, across in zip(self.within[part], self.across[part], strict=True):
            x_0, x_1 = across(within(x_0, position_0), within(x_1, position_1))
        return x_0, x_1

    def _kept(self, logits: Tensor) -> Tensor:
        """Return the indices (B, n), ascending, of the tokens with the highest logits (B, N)."""
        return logits.topk(min(self.kept, logits.shape[1]), dim=1).indices.sort(dim=1).values


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(B, heads, N, C / heads) -> (B, N, C)."""
    return x.transpose(1, 2).flatten(2)

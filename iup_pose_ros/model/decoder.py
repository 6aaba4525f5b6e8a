"""Pose decoder (Fig. 4a): the architecture of the rotation decoder (RD) and the translation decoder (TD).

MoE adapter -> view fusion -> FiLM on camera and input pose -> convolutions -> pooling -> increment, sigmas.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import ChannelNorm
from iup_pose_ros.model.realignment import CONDITION_SIZE
from iup_pose_ros.model.view_fusion import ViewFusion

POOLING_HEADS = 8


class MoEAdapter(nn.Module):
    """Mixture of experts on both views' features; a gate that sees the whole pair weighs the experts.

    (B, V, C, H, W) -> (B, V, C, H, W).
    """

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.experts = nn.ModuleList(self._expert(channels) for _ in range(experts))
        self.gate = nn.Linear(channels, experts)

    @staticmethod
    def _expert(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, 1, 1, groups=channels),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.flatten(0, 1))
        weights = self.gate(normed.unflatten(0, x.shape[:2]).mean(dim=(1, 3, 4))).softmax(dim=1)
        for index, expert in enumerate(self.experts):
            x = x + weights[:, index, None, None, None, None] * expert(normed).unflatten(0, x.shape[:2])
        return x


class FiLM(nn.Module):
    """Feature-wise linear modulation: (B, C, H, W) scaled and shifted by functions of a condition (B, D)."""

    def __init__(self, condition_size: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Linear(condition_size, channels)
        self.modulate = nn.Linear(channels, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(functional.gelu(self.embed(condition)))[..., None, None].chunk(2, dim=1)
        return x * (1.0 + scale) + shift


class AttentionPooling(nn.Module):
    """Mean over cells with learned weights, one set per group of channels: (B, C, H, W) -> (B, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, heads, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x).flatten(2).softmax(dim=2)
        groups = x.flatten(2).unflatten(1, (weights.shape[1], -1))
        return (groups * weights[:, :, None]).sum(dim=3).flatten(1)


class PoseDecoder(nn.Module):
    """Increment (B, 3) of a pose and the change of ``sigmas`` log standard deviations (B, sigmas).

    The caller applies both to the input pose: the residual connection of Fig. 4a. ``first_answer`` is the
    deviation of the output layer's initial weights: small where the input pose is a good first answer.
    """

    def __init__(
        self, channels: int, bottleneck: int, head_width: int, experts: int, sigmas: int, first_answer: float
    ) -> None:
        super().__init__()
        self.adapter = MoEAdapter(channels, experts)
        self.fusion = ViewFusion(channels, bottleneck)
        self.film = FiLM(CONDITION_SIZE, channels)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(channels, head_width, 3, 2, 1),
            nn.GELU(),
        )
        self.pooling = AttentionPooling(head_width, POOLING_HEADS)
        output = nn.Linear(head_width, 3 + sigmas)
        nn.init.normal_(output.weight[:3], std=first_answer)
        # Deviations start as the input pose's: out of their bounds by chance they would never learn.
        nn.init.zeros_(output.weight[3:])
        nn.init.zeros_(output.bias)
        self.head = nn.Sequential(nn.Linear(head_width, head_width), nn.GELU(), output)

    def forward(self, views: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Views (B, V=2, C, H, W), view 1 on view 0's grid; condition (B, CONDITION_SIZE)."""
        fused = self.film(self.fusion(self.adapter(views)), condition)
        output = self.head(self.pooling(self.convolutions(fused))).float()
        return output[:, :3], output[:, 3:]

"""Pose decoder (Fig. 4a): architecture of the rotation decoder (RD) and the translation decoder (TD).

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
    """Mixture of experts on the features of both views, with a gate on the mean features of the pair.

    (B, V, C, H, W) -> (B, V, C, H, W).
    """

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 1),
                nn.GELU(),
                nn.Conv2d(channels, channels, 3, 1, 1, groups=channels),
                nn.Conv2d(channels, channels, 1),
            )
            for _ in range(experts)
        )
        self.gate = nn.Linear(channels, experts)

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
    """Mean over cells with learned weights per group of channels: (B, C, H, W) -> (B, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, heads, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x).flatten(2).softmax(dim=2)
        groups = x.flatten(2).unflatten(1, (weights.shape[1], -1))
        return (groups * weights[:, :, None]).sum(dim=3).flatten(1)


class PoseDecoder(nn.Module):
    """Increment (B, 3) of a pose and of the logarithms of its standard deviations (B, sigmas).

    The caller adds both to the input pose (residual connection of Fig. 4a).

    Args:
        channels: C, of the input features.
        bottleneck: number of inner channels of the view fusion.
        head_width: number of channels of the last convolution and of hidden units of the head.
        experts: number of experts of the MoE adapter.
        sigmas: number of standard deviations.
        initial_std: standard deviation of the initial weights of the output layer; small where the input
            pose is a good estimate already.
    """

    def __init__(
        self, channels: int, bottleneck: int, head_width: int, experts: int, sigmas: int, initial_std: float
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
        nn.init.normal_(output.weight[:3], std=initial_std)
        # Sigmas start as those of the input pose: random ones outside the bounds would have no gradient.
        nn.init.zeros_(output.weight[3:])
        nn.init.zeros_(output.bias)
        self.head = nn.Sequential(nn.Linear(head_width, head_width), nn.GELU(), output)

    def forward(self, views: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the increments of pose and log sigmas.

        Args:
            views: (B, V=2, C, H, W), both on the grid of view 0.
            condition: (B, CONDITION_SIZE).
        """
        fused = self.film(self.fusion(self.adapter(views)), condition)
        output = self.head(self.pooling(self.convolutions(fused))).float()
        return output[:, :3], output[:, 3:]

"""View fusion (Fig. 4b): features of the views (B, V=2, C, H, W) to one map (B, C, H, W).

Four robust bottleneck blocks with gates, the first two per view (view kernel k_v = 1), the last two across
views (k_v = 3); depthwise separable refinement with a residual; softmax attention over the views.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.alignment import ChannelNorm

VIEW_KERNELS = (1, 1, 3, 3)


class ViewGate(nn.Module):
    """Gate in (0, 1) per cell and channel from a convolution over the views: (B, V, C, H, W) -> same."""

    def __init__(self, channels: int, view_kernel: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, (view_kernel, 1), padding=(view_kernel // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        across_views = self.mix(x.flatten(3).transpose(1, 2))  # (B, C, V, H W)
        return torch.sigmoid(across_views).transpose(1, 2).reshape(x.shape)


class RobustBottleneckBlock(nn.Module):
    """Bottleneck with a view-aware gate that can suppress features on which the views disagree.

    (B, V, C, H, W) -> (B, V, C, H, W).
    """

    def __init__(self, channels: int, bottleneck: int, view_kernel: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.reduce = nn.Conv2d(channels, bottleneck, 1)
        self.spatial = nn.Conv2d(bottleneck, bottleneck, 3, 1, 1)
        self.gate = ViewGate(bottleneck, view_kernel)
        self.expand = nn.Conv2d(bottleneck, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        views = x.shape[:2]
        y = functional.gelu(self.reduce(self.norm(x.flatten(0, 1))))
        y = functional.gelu(self.spatial(y)).unflatten(0, views)
        y = y * self.gate(y)
        return x + self.expand(y.flatten(0, 1)).unflatten(0, views)


class ViewFusion(nn.Module):
    """Fusion of the views: (B, V, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(RobustBottleneckBlock(channels, bottleneck, kernel) for kernel in VIEW_KERNELS)
        )
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.attention = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        views = x.shape[:2]
        x = self.blocks(x).flatten(0, 1)
        x = x + functional.gelu(self.pointwise(self.depthwise(x)))
        attention = self.attention(x).unflatten(0, views).softmax(dim=1)
        return (attention * x.unflatten(0, views)).sum(dim=1)

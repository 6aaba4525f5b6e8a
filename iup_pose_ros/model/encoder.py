"""Shared image encoders (Fig. 2, part 1): 5-channel input to features at strides 2 to 32.

Names and shapes of the parameters are those of the public ImageNet checkpoints of these architectures, so
that their weights can be loaded once the stem is extended to five channels (``widen_stem``).
Sources: He et al., "Deep residual learning", 2016; Sandler et al., "MobileNetV2", 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

INPUT_CHANNELS = 5
STRIDES = (2, 4, 8, 16, 32)

Pyramid = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Channels = tuple[int, int, int, int, int]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut: (B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNetEncoder(nn.Module):
    """ResNet of basic blocks: (B, 5, H, W) -> features of (64, 64, 128, 256, 512) channels at STRIDES."""

    channels: Channels = (64, 64, 128, 256, 512)

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(INPUT_CHANNELS, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._layer(64, 64, depths[0], stride=1)
        self.layer2 = self._layer(64, 128, depths[1], stride=2)
        self.layer3 = self._layer(128, 256, depths[2], stride=2)
        self.layer4 = self._layer(256, 512, depths[3], stride=2)

    @staticmethod
    def _layer(channels_in: int, channels_out: int, depth: int, stride: int) -> nn.Sequential:
        blocks = [BasicBlock(channels_in, channels_out, stride)]
        blocks += [BasicBlock(channels_out, channels_out, 1) for _ in range(depth - 1)]
        return nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Pyramid:
        stride_2 = self.relu(self.bn1(self.conv1(x)))
        stride_4 = self.layer1(self.maxpool(stride_2))
        stride_8 = self.layer2(stride_4)
        stride_16 = self.layer3(stride_8)
        return stride_2, stride_4, stride_8, stride_16, self.layer4(stride_16)


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    """Create a convolution with batch normalisation and ReLU6."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection: (B, C_in, H, W) -> (B, C_out, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_convolution(channels_in, hidden, 1, 1, 1))
        layers.append(_convolution(hidden, hidden, 3, stride, hidden))
        layers.append(nn.Conv2d(hidden, channels_out, 1, bias=False))
        layers.append(nn.BatchNorm2d(channels_out))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 without classifier: (B, 5, H, W) -> (16, 24, 32, 96, 320) channels at STRIDES."""

    channels: Channels = (16, 24, 32, 96, 320)
    _STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    _OUTPUTS = (1, 3, 6, 13, 17)  # index of the last block of each stride

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(INPUT_CHANNELS, 32, 3, 2, 1)]
        channels_in = 32
        for expansion, channels_out, depth, stride in self._STAGES:
            for index in range(depth):
                layers.append(
                    InvertedResidual(channels_in, channels_out, stride if index == 0 else 1, expansion)
                )
                channels_in = channels_out
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Pyramid:
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._OUTPUTS:
                outputs.append(x)
        stride_2, stride_4, stride_8, stride_16, stride_32 = outputs
        return stride_2, stride_4, stride_8, stride_16, stride_32


Encoder = ResNetEncoder | MobileNetV2Encoder

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "mobilenet_v2": MobileNetV2Encoder,
    "resnet18": lambda: ResNetEncoder((2, 2, 2, 2)),
    "resnet34": lambda: ResNetEncoder((3, 4, 6, 3)),
}


def widen_stem(rgb_kernel: Tensor) -> Tensor:
    """Extend the stem kernel (C, 3, k, k) of an RGB network by zeros for the coordinates: (C, 5, k, k)."""
    channels, _, height, width = rgb_kernel.shape
    coordinates = rgb_kernel.new_zeros(channels, INPUT_CHANNELS - 3, height, width)
    return torch.cat([rgb_kernel, coordinates], dim=1)

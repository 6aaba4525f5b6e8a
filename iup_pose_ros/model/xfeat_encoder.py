"""Image encoder for matching with the architecture of XFeat, so that training can start from its weights.

A shallow network on the grey image with few channels at high resolution. Descriptors and their reliability
at stride 8 come from features of strides 8, 16 and 32. The keypoint head classifies the position of a
keypoint in each 8x8 block from the pixels of this block.
Source: Potje et al., "XFeat: Accelerated features for lightweight image matching", 2024.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision

CELL = 8  # pixels across a cell of the descriptors and of the keypoint head
DESCRIPTOR_SIZE = 64
DETAIL_CHANNELS = {4: 24, 2: 8}  # channels of the features by stride, which matches are refined with


class XFeatMaps(NamedTuple):
    """Output of the encoder.

    Attributes:
        stride_2, stride_4: features (B, 8, H/2, W/2) and (B, 24, H/4, W/4).
        descriptors: (B, 64, H/8, W/8), not normalised.
        reliability: (B, 1, H/8, W/8) in [0, 1], probability that the descriptor can be matched.
        keypoint_logits: (B, 65, H/8, W/8), of the 64 pixels of a cell, row by row, and of no keypoint.
    """

    stride_2: Tensor
    stride_4: Tensor
    descriptors: Tensor
    reliability: Tensor
    keypoint_logits: Tensor


def _convolution(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Create a convolution with batch normalisation without scale and offset, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out, affine=False),
        nn.ReLU(inplace=True),
    )


class XFeatEncoder(nn.Module):
    """Encoder of images (B, 3, H, W) in [0, 1], H and W multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.brightness = nn.InstanceNorm2d(1)
        self.stem = nn.Sequential(_convolution(1, 4), _convolution(4, 8, stride=2), _convolution(8, 8))
        self.reduce_4 = _convolution(8, 24, stride=2)
        self.shortcut_4 = nn.Conv2d(1, 24, 1)
        self.stage_4 = nn.Sequential(_convolution(24, 24), _convolution(24, 24))
        self.stage_8 = nn.Sequential(
            _convolution(24, 64, stride=2), _convolution(64, 64), _convolution(64, 64, kernel=1)
        )
        self.stage_16 = nn.Sequential(
            _convolution(64, 64, stride=2), _convolution(64, 64), _convolution(64, 64)
        )
        self.stage_32 = nn.Sequential(
            _convolution(64, 128, stride=2),
            _convolution(128, 128),
            _convolution(128, 128),
            _convolution(128, 64, kernel=1),
        )
        self.fusion = nn.Sequential(
            _convolution(64, 64), _convolution(64, 64), nn.Conv2d(64, DESCRIPTOR_SIZE, 1)
        )
        self.reliability = nn.Sequential(
            _convolution(64, 64, kernel=1), _convolution(64, 64, kernel=1), nn.Conv2d(64, 1, 1)
        )
        self.keypoints = nn.Sequential(
            *(_convolution(64, 64, kernel=1) for _ in range(3)), nn.Conv2d(64, CELL**2 + 1, 1)
        )

    def forward(self, images: Tensor) -> XFeatMaps:
        grey = self.brightness(images.mean(dim=1, keepdim=True))
        stride_2 = self.stem(grey)
        shortcut = self.shortcut_4(functional.avg_pool2d(grey, 4))
        stride_4 = self.stage_4(self.reduce_4(stride_2) + shortcut)
        stride_8 = self.stage_8(stride_4)
        stride_16 = self.stage_16(stride_8)
        coarser = (stride_16, self.stage_32(stride_16))
        resized = (
            functional.interpolate(x, size=stride_8.shape[-2:], mode="bilinear", align_corners=False)
            for x in coarser
        )
        descriptors = self.fusion(stride_8 + sum(resized))
        reliability = self.reliability(descriptors).sigmoid()
        with full_precision(images):  # sub-pixel positions are means by these probabilities
            logits = self.keypoints(functional.pixel_unshuffle(grey.float(), CELL))
        return XFeatMaps(stride_2, stride_4, descriptors, reliability, logits)

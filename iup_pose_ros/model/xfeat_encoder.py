"""Image encoder for matching with the architecture of XFeat, so that training can start from its weights.

A shallow network on the grey image with few channels at high resolution. Descriptors and their reliability
at stride 8 come from features of strides 8, 16 and 32. The keypoint head classifies the position of a
keypoint in each 8x8 block from the pixels of this block.
Source: Potje et al., "XFeat: Accelerated features for lightweight image matching", 2024.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from iup_pose_ros.model.keypoints import CELL, KeypointMaps, sample
from iup_pose_ros.model.precision import full_precision


def _convolution(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Create a convolution with batch normalisation without scale and offset, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out, affine=False),
        nn.ReLU(inplace=True),
    )


class XFeatEncoder(nn.Module):
    """Encoder of images (B, 3, H, W) in [0, 1], H and W multiples of 32.

    Attributes:
        descriptor_size: number of channels D of the descriptors.
        position_radius: radius of the window of sub-pixel refinement of keypoints, pixels.
        describes_any_point: whether the descriptor of any pixel is that of the cells, interpolated.
    """

    descriptor_size = 64
    position_radius = 1
    describes_any_point = True

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
            _convolution(64, 64), _convolution(64, 64), nn.Conv2d(64, self.descriptor_size, 1)
        )
        self.reliability = nn.Sequential(
            _convolution(64, 64, kernel=1), _convolution(64, 64, kernel=1), nn.Conv2d(64, 1, 1)
        )
        self.keypoints = nn.Sequential(
            *(_convolution(64, 64, kernel=1) for _ in range(3)), nn.Conv2d(64, CELL**2 + 1, 1)
        )

    def forward(self, images: Tensor) -> KeypointMaps:
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
            # Of the 64 pixels of a cell, row by row, and of no keypoint.
            logits = self.keypoints(functional.pixel_unshuffle(grey.float(), CELL))
            scores = functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)[:, 0]
        return KeypointMaps(scores, scores, reliability, (descriptors,))

    def describe(self, maps: KeypointMaps, pixels: Tensor) -> Tensor:
        """Return descriptors (B, N, D), not normalised, of keypoints at pixels (B, N, 2)."""
        return sample(maps.levels[0].float(), pixels)

    def describe_cells(self, maps: KeypointMaps) -> Tensor:
        """Return descriptors (B, D, H/8, W/8), not normalised, of all cells."""
        return maps.levels[0]

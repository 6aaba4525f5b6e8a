"""Textures of different sizes as one table of texels with mip levels.

Source of the scheme: Williams, "Pyramidal parametrics", SIGGRAPH 1983.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.errors import DataError


@dataclass(frozen=True, eq=False)
class TextureTable:
    """All texels of T textures at L levels, each level half the size of the one before.

    Attributes:
        texels: (N, 3) RGB, 0 to 1.
        offset: (T, L) first row of a level in ``texels``, int32.
        width, height: (T, L) size of a level in texels, int32.
    """

    texels: Tensor
    offset: Tensor
    width: Tensor
    height: Tensor

    @classmethod
    def from_images(cls, images: Sequence[NDArray[np.uint8]]) -> TextureTable:
        """The table of T images, each uint8 (H, W, 3) RGB.

        Raises:
            DataError: there is no image, or one is not uint8 (H, W, 3).
        """
        if not images:
            raise DataError("a texture table needs at least one image")
        pyramids = [_pyramid(image) for image in images]
        levels = max(len(pyramid) for pyramid in pyramids)
        # Short pyramids repeat their last level (1x1), so that every texture has all levels.
        padded = [pyramid + [pyramid[-1]] * (levels - len(pyramid)) for pyramid in pyramids]
        sizes = torch.tensor(
            [[level.shape[:2] for level in pyramid] for pyramid in padded], dtype=torch.int32
        )
        counts = sizes.prod(dim=-1)
        offset = (counts.flatten().cumsum(0).reshape(counts.shape) - counts).int()
        texels = torch.cat([level.reshape(-1, 3) for pyramid in padded for level in pyramid])
        return cls(texels, offset, sizes[..., 1].contiguous(), sizes[..., 0].contiguous())

    def to(self, device: torch.device | str) -> TextureTable:
        """The same table on another device."""
        return TextureTable(
            self.texels.to(device), self.offset.to(device), self.width.to(device), self.height.to(device)
        )

    def sample(self, texture: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
        """Colours (..., 3), bilinear within a level.

        Args:
            texture: (...) texture of each sample, int32.
            u, v: (...) position right and down; 0 to 1 is the image from edge to edge, mirrored beyond.
            level: (...) level of the pyramid, int32; clamped to those there are.
        """
        levels = self.offset.shape[1]
        entry = texture * levels + level.clamp(0, levels - 1)
        offset, width, height = (
            table.flatten().index_select(0, entry.flatten()).reshape(entry.shape)
            for table in (self.offset, self.width, self.height)
        )
        x, x1, right = _bracket(_folded(u), width)
        y, y1, below = _bracket(_folded(v), height)
        top, bottom = offset + y * width, offset + y1 * width
        left, above = 1.0 - right, 1.0 - below
        index = torch.stack([top + x, top + x1, bottom + x, bottom + x1], dim=-1)
        weight = torch.stack([above * left, above * right, below * left, below * right], dim=-1)
        # A gather of four rows and their weighted sum in one pass over memory.
        colours = functional.embedding_bag(
            index.reshape(-1, 4), self.texels, per_sample_weights=weight.reshape(-1, 4), mode="sum"
        )
        return colours.reshape(*texture.shape, 3)


def _folded(coordinate: Tensor) -> Tensor:
    """Position in 0 to 1: every second copy of a repeated texture is mirrored."""
    return 1.0 - (1.0 - (coordinate - 2.0 * (0.5 * coordinate).floor())).abs()


def _bracket(coordinate: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Texels on both sides of a coordinate in 0..1 and the weight of the second; clamped at the edges."""
    last = size - 1
    position = torch.minimum((coordinate * size - 0.5).clamp(min=0.0), last)
    index = position.int()
    return index, torch.minimum(index + 1, last), position - index


def _pyramid(image: NDArray[np.uint8]) -> list[Tensor]:
    """Levels (H, W, 3) float32 0 to 1 of one image down to 1x1, each filtered from the one before."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"a texture is {image.dtype} {image.shape}; uint8 of shape (H, W, 3) is needed")
    level = torch.from_numpy(np.ascontiguousarray(image)).float().div(255.0).permute(2, 0, 1)[None]
    levels = [level]
    while max(level.shape[2:]) > 1:
        height, width = (max(1, size // 2) for size in level.shape[2:])
        level = functional.interpolate(level, size=(height, width), mode="area")
        levels.append(level)
    return [level[0].permute(1, 2, 0) for level in levels]

"""Textures of different sizes in one table of texels with mip levels.

Source: Williams, "Pyramidal parametrics", SIGGRAPH 1983.
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
    """T textures with L mip levels, each of half the size of the previous one.

    Attributes:
        texels: (N, 3) RGB, 0 to 1.
        offset: (T, L) int32, index of the first texel of a level in ``texels``.
        width, height: (T, L) int32, size of a level in texels.
    """

    texels: Tensor
    offset: Tensor
    width: Tensor
    height: Tensor

    @classmethod
    def from_images(cls, images: Sequence[NDArray[np.uint8]]) -> TextureTable:
        """Create a table from T images, each uint8 (H, W, 3) RGB.

        Raises:
            DataError: there is no image, or an image is not uint8 (H, W, 3).
        """
        if not images:
            raise DataError("a texture table needs at least one image")
        pyramids = [build_pyramid(image) for image in images]
        levels = max(len(pyramid) for pyramid in pyramids)
        # Repeat the last level (1x1) of short pyramids, so that all textures have the same number of levels.
        padded = [pyramid + [pyramid[-1]] * (levels - len(pyramid)) for pyramid in pyramids]
        sizes = torch.tensor(
            [[level.shape[:2] for level in pyramid] for pyramid in padded], dtype=torch.int32
        )
        counts = sizes.prod(dim=-1)
        offset = (counts.flatten().cumsum(0).reshape(counts.shape) - counts).int()
        texels = torch.cat([level.reshape(-1, 3) for pyramid in padded for level in pyramid])
        return cls(texels, offset, sizes[..., 1].contiguous(), sizes[..., 0].contiguous())

    def to(self, device: torch.device | str) -> TextureTable:
        """Return a copy of the table on a device."""
        return TextureTable(
            self.texels.to(device), self.offset.to(device), self.width.to(device), self.height.to(device)
        )

    def sample(self, texture: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
        """Sample colours (..., 3) by bilinear interpolation within a level.

        Args:
            texture: (...) int32, index of the texture.
            u, v: (...) horizontal and vertical position; 0 to 1 is edge to edge, mirrored beyond.
            level: (...) int32, mip level; clamped to the existing levels.
        """
        levels = self.offset.shape[1]
        entry = texture * levels + level.clamp(0, levels - 1)
        offset, width, height = (
            table.flatten().index_select(0, entry.flatten()).reshape(entry.shape)
            for table in (self.offset, self.width, self.height)
        )
        x, x1, right = _neighbours(_mirror(u), width)
        y, y1, below = _neighbours(_mirror(v), height)
        top, bottom = offset + y * width, offset + y1 * width
        left, above = 1.0 - right, 1.0 - below
        index = torch.stack([top + x, top + x1, bottom + x, bottom + x1], dim=-1)
        weight = torch.stack([above * left, above * right, below * left, below * right], dim=-1)
        # Gathers four texels and computes their weighted sum in one pass over memory.
        colours = functional.embedding_bag(
            index.reshape(-1, 4), self.texels, per_sample_weights=weight.reshape(-1, 4), mode="sum"
        )
        return colours.reshape(*texture.shape, 3)


def _mirror(coordinate: Tensor) -> Tensor:
    """Map a coordinate to 0 to 1; every second copy of a repeated texture is mirrored."""
    return 1.0 - (1.0 - (coordinate - 2.0 * (0.5 * coordinate).floor())).abs()


def _neighbours(coordinate: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both texels next to a coordinate in 0..1 and the weight of the second, clamped at edges."""
    last = size - 1
    position = torch.minimum((coordinate * size - 0.5).clamp(min=0.0), last)
    index = position.int()
    return index, torch.minimum(index + 1, last), position - index


def build_pyramid(image: NDArray[np.uint8]) -> list[Tensor]:
    """Return the mip levels (H, W, 3) float32, 0 to 1, of an image down to 1x1, by area filtering.

    Raises:
        DataError: the image is not uint8 (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"a texture is {image.dtype} {image.shape}; uint8 of shape (H, W, 3) is needed")
    level = torch.from_numpy(np.ascontiguousarray(image)).float().div(255.0).permute(2, 0, 1)[None]
    levels = [level]
    while max(level.shape[2:]) > 1:
        height, width = (max(1, size // 2) for size in level.shape[2:])
        level = functional.interpolate(level, size=(height, width), mode="area")
        levels.append(level)
    return [level[0].permute(1, 2, 0) for level in levels]

"""Viewing rays of images and feature maps; cell (0, 0) is centred at (0, 0), as pixels are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision


def intrinsics_at_stride(intrinsics: Tensor, stride: int) -> Tensor:
    """Camera matrices (B, 3, 3) of feature maps ``stride`` times smaller than their images (B, 3, 3).

    Cells are s x s blocks of pixels, so that their centres follow c -> (c + 0.5) / s - 0.5.
    """
    scale = intrinsics.new_tensor([[1.0 / stride], [1.0 / stride], [1.0]])
    shift = 0.5 / stride - 0.5
    offset = intrinsics.new_tensor([[0.0, 0.0, shift], [0.0, 0.0, shift], [0.0, 0.0, 0.0]])
    return intrinsics * scale + offset


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Homogeneous pixel coordinates (3, H, W) of every pixel, on the device of ``like``, in float32."""
    v, u = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=torch.float32),
        torch.arange(width, device=like.device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)])


def normalised_coordinates(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """((u - cx) / fx, (v - cy) / fy, 1) of every pixel: (B, 3, 3) -> (B, 3, H, W)."""
    coordinates = off_image(pixel_grid(height, width, intrinsics)[:2], intrinsics)
    return torch.cat([coordinates, torch.ones_like(coordinates[:, :1])], dim=1)


def off_image(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Normalised coordinates (B, 2, H, W) of pixels (B, 2, H, W) or (2, H, W) of cameras (B, 3, 3)."""
    focal, centre = _focal_and_centre(intrinsics)
    return (pixels - centre) / focal


def onto_image(plane: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (B, 2, H, W) of normalised coordinates (B, 2, H, W): the inverse of ``off_image``."""
    focal, centre = _focal_and_centre(intrinsics)
    return plane * focal + centre


def _focal_and_centre(intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=1)
    return focal[..., None, None], intrinsics[:, :2, 2][..., None, None]


def unit_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Unit viewing rays (B, 3, H, W) of every pixel of cameras (B, 3, 3)."""
    return functional.normalize(normalised_coordinates(intrinsics, height, width), dim=1)


def rotate(rotation: Tensor, field: Tensor) -> Tensor:
    """Vectors of a field (B, 3, H, W) turned by rotations (B, 3, 3)."""
    with full_precision(field):
        return torch.einsum("bij,bjhw->bihw", rotation, field)

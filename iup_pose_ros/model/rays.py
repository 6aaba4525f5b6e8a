"""Viewing rays of images and feature maps. The centre of pixel or cell (0, 0) has coordinates (0, 0)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.precision import full_precision


def intrinsics_at_stride(intrinsics: Tensor, stride: int) -> Tensor:
    """Scale camera matrices (B, 3, 3) of images to feature maps of a stride.

    Cells are blocks of s x s pixels, so pixel coordinate c is cell coordinate (c + 0.5) / s - 0.5.
    """
    scale = vector_like(intrinsics, 1.0 / stride, 1.0 / stride, 1.0)[:, None]
    shift = 0.5 / stride - 0.5
    offset = functional.pad(vector_like(intrinsics, shift, shift, 0.0)[:, None], (2, 0))
    return intrinsics * scale + offset


def vector_like(like: Tensor, *values: float) -> Tensor:
    """Return values (n,) with the type and device of a tensor, without a copy from the host's memory.

    Such a copy waits for the GPU and cannot be captured in a CUDA graph.
    """
    return torch.stack([like.new_full((), value) for value in values])


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return homogeneous coordinates (3, H, W) of every pixel, float32, on the device of ``like``."""
    v, u = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=torch.float32),
        torch.arange(width, device=like.device, dtype=torch.float32),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)])


def normalised_coordinates(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Return ((u - cx) / fx, (v - cy) / fy, 1) of every pixel (B, 3, H, W) of cameras (B, 3, 3)."""
    coordinates = pixels_to_plane(pixel_grid(height, width, intrinsics)[:2], intrinsics)
    return torch.cat([coordinates, torch.ones_like(coordinates[:, :1])], dim=1)


def pixels_to_plane(pixels: Tensor, intrinsics: Tensor) -> Tensor:
    """Convert pixels (B, 2, H, W) or (2, H, W) of cameras (B, 3, 3) to normalised coordinates."""
    focal, centre = _focal_and_centre(intrinsics)
    return (pixels - centre) / focal


def plane_to_pixels(plane: Tensor, intrinsics: Tensor) -> Tensor:
    """Convert normalised coordinates (B, 2, H, W) to pixels (B, 2, H, W); inverse of ``pixels_to_plane``."""
    focal, centre = _focal_and_centre(intrinsics)
    return plane * focal + centre


def _focal_and_centre(intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=1)
    return focal[..., None, None], intrinsics[:, :2, 2][..., None, None]


def unit_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Return unit viewing rays (B, 3, H, W) of every pixel of cameras (B, 3, 3)."""
    return functional.normalize(normalised_coordinates(intrinsics, height, width), dim=1)


def rotate(rotation: Tensor, field: Tensor) -> Tensor:
    """Rotate the vectors of a field (B, 3, H, W) by rotations (B, 3, 3)."""
    with full_precision(field):
        return torch.einsum("bij,bjhw->bihw", rotation, field)

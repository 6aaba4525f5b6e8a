"""Homography warp (HW in Fig. 2) of the features of view 1 to view 0 by the rotation between them.

The infinite homography H_inf = K_1 R_1_0 K_0^-1 maps pixels of view 0 to pixels of view 1 for zero baseline
or infinite depth (Hartley and Zisserman, equation 13.11). The remaining parallax depends on the translation.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.rays import normalised_coordinates, plane_to_pixels, rotate, vector_like

MINIMUM_DEPTH = 1e-2  # z of a rotated ray; rays at or behind the camera plane are not visible


def sampling_grid(
    intrinsics_0: Tensor, intrinsics_1: Tensor, R_1_0: Tensor, size_0: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Map every pixel of view 0 to view 1 by H_inf.

    Args:
        intrinsics_0, intrinsics_1: camera matrices (B, 3, 3) of the two pixel or feature grids.
        R_1_0: (B, 3, 3), rotates rays of view 0 into the frame of view 1.
        size_0: height and width of view 0's grid.

    Returns:
        Pixels of view 1 (B, 2, H_0, W_0) and whether the rotated ray points forward, bool (B, 1, H_0, W_0).
    """
    rotated = rotate(R_1_0, normalised_coordinates(intrinsics_0, *size_0))
    forward = rotated[:, 2:] > MINIMUM_DEPTH
    plane = rotated[:, :2] / rotated[:, 2:].clamp(min=MINIMUM_DEPTH)
    return plane_to_pixels(plane, intrinsics_1), forward


def homography_warp(
    features_1: Tensor, intrinsics_0: Tensor, intrinsics_1: Tensor, R_1_0: Tensor, size_0: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Sample the features of view 1 on the grid of view 0.

    Args:
        features_1: (B, C, H_1, W_1).
        intrinsics_0, intrinsics_1, R_1_0, size_0: as in ``sampling_grid``, at the features' stride.

    Returns:
        Features (B, C, H_0, W_0), zero outside view 1, and the mask (B, 1, H_0, W_0), 1 inside and 0 outside.
    """
    pixels, forward = sampling_grid(intrinsics_0, intrinsics_1, R_1_0, size_0)
    height, width = features_1.shape[-2:]
    size = vector_like(pixels, width, height)[:, None, None]
    relative = (2.0 * pixels + 1.0) / size - 1.0  # -1 and 1 are the outer edges of the image
    inside = forward & (relative.abs() <= 1.0).all(dim=1, keepdim=True)
    grid = relative.clamp(-2.0, 2.0).permute(0, 2, 3, 1)
    sampled = functional.grid_sample(features_1.float(), grid, padding_mode="border", align_corners=False)
    mask = inside.float()
    return sampled * mask, mask

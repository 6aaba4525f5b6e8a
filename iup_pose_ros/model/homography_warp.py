"""Homography warp (HW in Fig. 2): view 1's features where a pure rotation would show them in view 0.

H_inf = K_1 R_1_0 K_0^-1 maps pixels of view 0 to pixels of view 1 wherever the baseline does not matter
(Hartley and Zisserman, equation 13.11). What parallax remains after the warp tells the translation.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.rays import normalised_coordinates, onto_image, rotate

MINIMAL_DEPTH = 1e-2  # of a turned ray; at or behind the camera's plane nothing is seen


def sampling_grid(
    intrinsics_0: Tensor, intrinsics_1: Tensor, R_1_0: Tensor, size_0: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where each pixel of view 0 lies in view 1 under H_inf.

    Args:
        intrinsics_0, intrinsics_1: camera matrices (B, 3, 3) of the two pixel or feature grids.
        R_1_0: (B, 3, 3), turns view 0's rays into view 1's frame.
        size_0: height and width of view 0's grid.

    Returns:
        Pixels of view 1 (B, 2, H_0, W_0) and whether the turned ray points forward, bool (B, 1, H_0, W_0).
    """
    turned = rotate(R_1_0, normalised_coordinates(intrinsics_0, *size_0))
    forward = turned[:, 2:] > MINIMAL_DEPTH
    plane = turned[:, :2] / turned[:, 2:].clamp(min=MINIMAL_DEPTH)
    return onto_image(plane, intrinsics_1), forward


def homography_warp(
    features_1: Tensor, intrinsics_0: Tensor, intrinsics_1: Tensor, R_1_0: Tensor, size_0: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """View 1's features on view 0's grid.

    Args:
        features_1: (B, C, H_1, W_1).
        intrinsics_0, intrinsics_1, R_1_0, size_0: as in ``sampling_grid``, at the features' stride.

    Returns:
        Features (B, C, H_0, W_0), zero out of view, and the mask (B, 1, H_0, W_0), 1 in view and 0 out of it.
    """
    pixels, forward = sampling_grid(intrinsics_0, intrinsics_1, R_1_0, size_0)
    height, width = features_1.shape[-2:]
    size = pixels.new_tensor([width, height])[:, None, None]
    relative = (2.0 * pixels + 1.0) / size - 1.0  # -1 and 1 are the outer edges of the first and last pixel
    inside = forward & (relative.abs() <= 1.0).all(dim=1, keepdim=True)
    grid = relative.clamp(-2.0, 2.0).permute(0, 2, 3, 1)
    sampled = functional.grid_sample(features_1.float(), grid, padding_mode="border", align_corners=False)
    mask = inside.float()
    return sampled * mask, mask

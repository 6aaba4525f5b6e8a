"""Deformable convolution in plain torch: torchvision's does not load beside a CPU build of torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    padding: tuple[int, int] = (0, 0),
    mask: Tensor | None = None,
) -> Tensor:
    """Return a convolution of stride 1 whose kernel taps are displaced at every place of the output.

    Arguments are named and laid out as those of ``torchvision.ops.deform_conv2d`` (Dai et al., "Deformable
    convolutional networks", 2017; with ``mask``: Zhu et al., "Deformable ConvNets v2", 2019). The input is
    sampled bilinearly and is zero outside.

    Args:
        input: (B, C, H, W).
        offset: (B, 2 * K_h * K_w, H_out, W_out) pixels; y, then x of every tap.
        weight: (D, C, K_h, K_w).
        bias: (D,).
        padding: rows and columns added on every side.
        mask: (B, K_h * K_w, H_out, W_out) factors of the samples.

    Returns:
        (B, D, H_out, W_out).
    """
    batch, channels, height, width = input.shape
    rows_out, columns_out = offset.shape[2:]
    taps_y, taps_x = weight.shape[2:]
    taps = taps_y * taps_x
    offset = offset.view(batch, taps, 2, rows_out, columns_out)
    tap_y = torch.arange(taps_y).repeat_interleave(taps_x).view(taps, 1, 1).to(offset)
    tap_x = torch.arange(taps_x).repeat(taps_y).view(taps, 1, 1).to(offset)
    y = torch.arange(rows_out).view(rows_out, 1).to(offset) - padding[0] + tap_y + offset[:, :, 0]
    x = torch.arange(columns_out).to(offset) - padding[1] + tap_x + offset[:, :, 1]
    # grid_sample takes -1 and 1 for the outer edges of the image.
    grid = torch.stack([(2.0 * x + 1.0) / width - 1.0, (2.0 * y + 1.0) / height - 1.0], dim=-1)
    samples = functional.grid_sample(input, grid.flatten(1, 2), align_corners=False)
    samples = samples.view(batch, channels, taps, rows_out, columns_out)
    if mask is not None:
        samples = samples * mask[:, None]
    output = torch.einsum("bckhw,dck->bdhw", samples, weight.flatten(2))
    return output if bias is None else output + bias[:, None, None]

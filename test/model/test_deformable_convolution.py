from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.deformable_convolution import deform_conv2d


def sampled(image: Tensor, y: float, x: float) -> Tensor:
    """Channels of an image (C, H, W), bilinear between pixels and zero outside."""
    top, left = int(np.floor(y)), int(np.floor(x))
    value = torch.zeros(len(image), dtype=image.dtype)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            value += (1.0 - abs(y - row)) * (1.0 - abs(x - column)) * image[:, row, column]
    return value


def naive(
    image: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int], mask: Tensor
):
    """The definition, place by place, for one image (C, H, W)."""
    output = bias[:, None, None].repeat(1, *offset.shape[1:])
    taps_y, taps_x = weight.shape[2:]
    for row, column in np.ndindex(*offset.shape[1:]):
        for tap, (tap_y, tap_x) in enumerate(np.ndindex(taps_y, taps_x)):
            y = row - padding[0] + tap_y + float(offset[2 * tap, row, column])
            x = column - padding[1] + tap_x + float(offset[2 * tap + 1, row, column])
            value = mask[tap, row, column] * sampled(image, y, x)
            output[:, row, column] += weight[:, :, tap_y, tap_x] @ value
    return output


@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), (1, 1)), ((1, 1), (0, 0)), ((3, 5), (2, 1))])
def test_deform_conv2d_is_its_definition(kernel: tuple[int, int], padding: tuple[int, int]):
    random = torch.Generator().manual_seed(0)
    height, width = 6, 8
    rows, columns = height + 2 * padding[0] - kernel[0] + 1, width + 2 * padding[1] - kernel[1] + 1
    taps = kernel[0] * kernel[1]
    images = torch.randn(2, 3, height, width, generator=random, dtype=torch.float64)
    weight = torch.randn(4, 3, *kernel, generator=random, dtype=torch.float64)
    bias = torch.randn(4, generator=random, dtype=torch.float64)
    # Wide enough that some taps leave the image.
    offset = 3.0 * torch.randn(2, 2 * taps, rows, columns, generator=random, dtype=torch.float64)
    mask = torch.rand(2, taps, rows, columns, generator=random, dtype=torch.float64)
    found = deform_conv2d(images, offset, weight, bias, padding, mask)
    expected = [naive(images[row], offset[row], weight, bias, padding, mask[row]) for row in range(2)]
    assert torch.allclose(found, torch.stack(expected), atol=1e-10)


def test_without_offsets_it_is_a_convolution():
    random = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 7, 9, generator=random)
    weight = torch.randn(4, 3, 3, 3, generator=random)
    found = deform_conv2d(images, torch.zeros(2, 18, 7, 9), weight, padding=(1, 1))
    assert torch.allclose(found, functional.conv2d(images, weight, padding=1), atol=1e-5)

"""Texture mapping of rendered samples: texture coordinates, footprints and mip levels."""

from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.demo_scene.textures import TextureTable

FAR_INVERSE = 1e-6  # minimum inverse depth, 1/m, which keeps divisions finite
_MIP_BIAS = 0.3  # mip levels; slightly blurred, to avoid aliasing
_SAMPLES_PER_PASS = {"cpu": 1 << 15}  # so that temporaries fit into the cache


def sample_positions(start: int, stop: int, factor: int, device: torch.device) -> Tensor:
    """Return the positions, in pixels, of the samples of pixels start..stop-1, ``factor`` per pixel."""
    index = torch.arange(start * factor, stop * factor, device=device, dtype=torch.float32)
    return (index + 0.5) / factor - 0.5


def shade(
    textures: TextureTable,
    repeat: Tensor,
    coefficients: Tensor,
    plane: Tensor,
    inverse_depth: Tensor,
    factor: int,
    background: float,
) -> Tensor:
    """Compute the colours (B, H factor, W factor, 3) of the samples.

    Args:
        textures: one texture per rectangle.
        repeat: (P, 2) repetitions of the texture along both sides.
        coefficients: (B, P, 3, 3) rectangles as linear functions of the pixel, see planes.py.
        plane: (B, H factor, W factor) visible rectangle of each sample; -1: background.
        inverse_depth: (B, H factor, W factor) inverse depth of each sample, 1/m.
        factor: number of samples per pixel along each axis.
        background: grey level of the background, 0 to 1.
    """
    rows, columns = plane.shape[1:]
    # Coefficients of the texture coordinates (0 to ``repeat``) times 1/z.
    inverse = coefficients[:, :, :1]
    along = (coefficients[:, :, 1:] + inverse) * (0.5 * repeat[..., None])
    table = torch.cat([inverse, along], dim=2).flatten(2).transpose(1, 2).contiguous()
    x = sample_positions(0, columns // factor, factor, plane.device)
    y = sample_positions(0, rows // factor, factor, plane.device)[:, None]
    # Offsets of the mip level before it is rounded down. They are evenly distributed over the samples of a
    # pixel, so that their mean interpolates between both levels (trilinear filtering).
    pattern = (torch.arange(factor**2, device=plane.device) + 0.5).reshape(factor, factor) / factor**2
    rounding = pattern.repeat(rows // factor, columns // factor)
    step = max(1, _SAMPLES_PER_PASS.get(plane.device.type, plane.numel()) // columns)
    colours = torch.empty((*plane.shape, 3), device=plane.device)
    for view in range(len(plane)):
        for top in range(0, rows, step):
            band = slice(top, top + step)
            u, v, texture, footprint = texture_coordinates(
                table[view], plane[view, band], x, y[band], inverse_depth[view, band]
            )
            sizes = ((size[:, 0] / factor).square() for size in (textures.width, textures.height))
            level = mip_level(*footprint, *(size[texture] for size in sizes)) + rounding[band]
            sampled = textures.sample(texture, u, v, level.floor().int())
            colours[view, band] = torch.where(plane[view, band, :, None] >= 0, sampled, background)
    return colours


def texture_coordinates(
    table: Tensor, plane: Tensor, x: Tensor, y: Tensor, inverse_depth: Tensor
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Compute the texture coordinates of samples (h, w) and their derivatives.

    Args:
        table: (9, P) texture coefficients of one view.
        plane: (h, w) visible rectangle of each sample; -1: background.
        x, y: (w,) and (h, 1) positions of the samples, pixels.
        inverse_depth: (h, w) 1/m.

    Returns:
        u, v, index of the texture, and the derivatives (u_x, v_x, u_y, v_y), each (h, w).
    """
    texture = plane.clamp(min=0)
    w_x, w_y, _, u_x, u_y, u_1, v_x, v_y, v_1 = (
        table.index_select(1, texture.flatten()).reshape(9, *plane.shape).unbind(0)
    )
    depth = inverse_depth.clamp(min=FAR_INVERSE).reciprocal()
    u = (u_x * x + u_y * y + u_1) * depth
    v = (v_x * x + v_y * y + v_1) * depth
    derivatives = (
        (u_x - u * w_x) * depth,
        (v_x - v * w_x) * depth,
        (u_y - u * w_y) * depth,
        (v_y - v * w_y) * depth,
    )
    return u, v, texture, derivatives


def mip_level(
    u_x: Tensor, v_x: Tensor, u_y: Tensor, v_y: Tensor, square_width: Tensor, square_height: Tensor
) -> Tensor:
    """Compute the mip level of samples from the derivatives of u and v and the squared texture size.

    The level is that of the shorter side of the footprint, but at most one level finer than that of the
    longer side. The longer side alone would blur slanted surfaces; the slight aliasing that remains is
    averaged over the samples of a pixel.
    """
    along_x = u_x.square() * square_width + v_x.square() * square_height
    along_y = u_y.square() * square_width + v_y.square() * square_height
    square = torch.maximum(torch.minimum(along_x, along_y), 0.25 * torch.maximum(along_x, along_y))
    return 0.5 * torch.log2(square.clamp(min=1e-12)) + _MIP_BIAS

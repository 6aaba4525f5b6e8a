"""Colours of the samples of rendered views: texture coordinates, footprints, filtering."""

from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.demo_scene.textures import TextureTable

FAR_INVERSE = 1e-6  # per metre; keeps divisions finite where nothing is seen
_MIP_BIAS = 0.3  # levels; a little soft rather than flickering
_SAMPLES_PER_PASS = {"cpu": 1 << 15}  # temporaries that stay in the cache


def sample_positions(start: int, stop: int, factor: int, device: torch.device) -> Tensor:
    """Positions of the samples of pixels start..stop-1, ``factor`` per pixel."""
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
    """Colours (B, H factor, W factor, 3) of the samples.

    Args:
        textures: one texture for each of the P rectangles.
        repeat: (P, 2) how often it fits along both sides.
        coefficients: (B, P, 3, 3) rectangles as linear functions of the pixel, see planes.py.
        plane: (B, H factor, W factor) visible rectangle of each sample, -1 for none.
        inverse_depth: (B, H factor, W factor) of it, per metre.
        factor: samples per pixel along each axis.
        background: grey level, 0 to 1, where nothing is seen.
    """
    rows, columns = plane.shape[1:]
    table = _texture_coefficients(repeat, coefficients).flatten(2).transpose(1, 2).contiguous()
    x = sample_positions(0, columns // factor, factor, plane.device)
    y = sample_positions(0, rows // factor, factor, plane.device)[:, None]
    rounding = _rounding(rows, columns, factor, plane.device)
    step = max(1, _SAMPLES_PER_PASS.get(plane.device.type, plane.numel()) // columns)
    colours = torch.empty((*plane.shape, 3), device=plane.device)
    for view in range(len(plane)):
        for top in range(0, rows, step):
            band = slice(top, top + step)
            u, v, texture, footprint = _texture_coordinates(
                table[view], plane[view, band], x, y[band], inverse_depth[view, band]
            )
            sizes = ((size[:, 0] / factor).square() for size in (textures.width, textures.height))
            level = (
                (_mip_level(*footprint, *(size[texture] for size in sizes)) + rounding[band]).floor().int()
            )
            looked_up = textures.sample(texture, u, v, level)
            colours[view, band] = torch.where(plane[view, band, :, None] >= 0, looked_up, background)
    return colours


def _texture_coordinates(
    table: Tensor, plane: Tensor, x: Tensor, y: Tensor, inverse_depth: Tensor
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Texture coordinates u and v, textures, and the derivatives of u and v by x, then by y; each (h, w).

    Table (9, P) holds the texture coefficients of one view.
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


def _rounding(rows: int, columns: int, factor: int, device: torch.device) -> Tensor:
    """(rows, columns) what each sample adds to its mip level before the fraction is cut off.

    Spread evenly over the samples of a pixel, it makes their mean a blend of both levels (trilinear).
    """
    count = factor**2
    pattern = (torch.arange(count, device=device) + 0.5).reshape(factor, factor) / count
    return pattern.repeat(rows // factor, columns // factor)


def _texture_coefficients(repeat: Tensor, coefficients: Tensor) -> Tensor:
    """(B, P, 3, 3): like the coefficients, but of the texture's coordinates (0 to ``repeat``) times 1/z."""
    inverse = coefficients[:, :, :1]
    along = (coefficients[:, :, 1:] + inverse) * (0.5 * repeat[..., None])
    return torch.cat([inverse, along], dim=2)


def _mip_level(
    u_x: Tensor, v_x: Tensor, u_y: Tensor, v_y: Tensor, square_width: Tensor, square_height: Tensor
) -> Tensor:
    """Level of a sample's footprint, given the derivatives of u and v and the squared size of the texture.

    As sharp as the shorter side, but at most one level finer than the longer: the mean over the samples of a
    pixel absorbs the little aliasing that this leaves on slanted surfaces, where the longer side alone blurs.
    """
    along_x = u_x.square() * square_width + v_x.square() * square_height
    along_y = u_y.square() * square_width + v_y.square() * square_height
    square = torch.maximum(torch.minimum(along_x, along_y), 0.25 * torch.maximum(along_x, along_y))
    return 0.5 * torch.log2(square.clamp(min=1e-12)) + _MIP_BIAS

"""Colours of the samples of rendered views: texture coordinates, footprints, filtering."""

from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.rendering.textures import TextureTable

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
    batch, rows, columns = plane.shape
    device = plane.device
    view = torch.arange(batch, device=device)[:, None, None]
    x = sample_positions(0, columns // factor, factor, device)
    y = sample_positions(0, rows // factor, factor, device)[:, None]
    table = _texture_coefficients(repeat, coefficients).reshape(-1, 9)
    inputs = (view, plane, x, y, inverse_depth, _rounding(rows, columns, factor, device))
    samples = (tensor.expand(plane.shape).reshape(-1) for tensor in inputs)
    step = _SAMPLES_PER_PASS.get(device.type, plane.numel())
    colours = [
        _shade_samples(textures, table, *part, factor=factor, background=background)
        for part in zip(*(tensor.split(step) for tensor in samples), strict=True)
    ]
    return torch.cat(colours).reshape(batch, rows, columns, 3)


def _shade_samples(
    textures: TextureTable,
    table: Tensor,
    view: Tensor,
    plane: Tensor,
    x: Tensor,
    y: Tensor,
    inverse_depth: Tensor,
    rounding: Tensor,
    *,
    factor: int,
    background: float,
) -> Tensor:
    """Colours (N, 3) of N samples; table (B P, 9) holds the texture coefficients."""
    texture = plane.clamp(min=0).long()
    row = view * len(textures.offset) + texture
    w_x, w_y, _, u_x, u_y, u_1, v_x, v_y, v_1 = table[row].t().contiguous()
    depth = 1.0 / inverse_depth.clamp(min=FAR_INVERSE)
    u = (u_x * x + u_y * y + u_1) * depth
    v = (v_x * x + v_y * y + v_1) * depth
    width, height = (size[:, 0][texture] / factor for size in (textures.width, textures.height))
    along_x = torch.hypot((u_x - u * w_x) * depth * width, (v_x - v * w_x) * depth * height)
    along_y = torch.hypot((u_y - u * w_y) * depth * width, (v_y - v * w_y) * depth * height)
    level = (_mip_level(along_x, along_y) + rounding).floor().long()
    colours = textures.sample(texture, u, v, level)
    return torch.where((plane >= 0)[:, None], colours, background)


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


def _mip_level(along_x: Tensor, along_y: Tensor) -> Tensor:
    """Level (N,) of a sample's footprint, whose sides are given in texels.

    As sharp as the shorter side, but at most one level finer than the longer: the mean over the samples of a
    pixel absorbs the little aliasing that this leaves on slanted surfaces, where the longer side alone blurs.
    """
    extent = torch.maximum(torch.minimum(along_x, along_y), 0.5 * torch.maximum(along_x, along_y))
    return torch.log2(extent.clamp(min=1e-6)) + _MIP_BIAS

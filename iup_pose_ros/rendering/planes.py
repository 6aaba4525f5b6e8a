"""A batched ray-caster of textured rectangles: images, depth and visible rectangle for given cameras and poses.

Along a viewing ray (x, y, 1) the inverse depth of a plane and the position on the plane times the inverse depth are
linear in the pixel, so that a rectangle is three 3-vectors per view and its intersection with every ray a few
multiplications (the homography of a plane; Hartley and Zisserman, "Multiple View Geometry", section 13.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from iup_pose_ros.errors import DataError
from iup_pose_ros.rendering.textures import TextureTable

NEAR = 0.01  # metres; nothing nearer to the camera is seen
_SAMPLES_PER_CHUNK = 1 << 22  # bounds the memory of one pass over a batch


@dataclass(frozen=True, eq=False)
class TexturedPlane:
    """A rectangle ``centre + a half_u + b half_v`` with a and b from -1 to 1, seen from both sides.

    Attributes:
        centre, half_u, half_v: (3,) in metres, world frame.
        texture: uint8 (H, W, 3) RGB. Its rows run along half_u, its columns along half_v; (-1, -1) is top left.
        repeat: how often the texture fits along half_u and half_v; every second copy is mirrored.
    """

    centre: ArrayLike
    half_u: ArrayLike
    half_v: ArrayLike
    texture: NDArray[np.uint8]
    repeat: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, eq=False)
class PlaneScene:
    """P rectangles as tensors: geometry (P, 3) in float64, textures in one table."""

    centre: Tensor
    half_u: Tensor
    half_v: Tensor
    repeat: Tensor
    textures: TextureTable

    @classmethod
    def from_planes(cls, planes: Sequence[TexturedPlane], device: torch.device | str = "cpu") -> PlaneScene:
        """The scene of one or more rectangles.

        Raises:
            DataError: no rectangle, one without area, or a texture that is not uint8 (H, W, 3).
        """
        table = TextureTable.from_images([plane.texture for plane in planes])
        centre, half_u, half_v = (
            torch.tensor(np.array([getattr(plane, name) for plane in planes], dtype=np.float64))
            for name in ("centre", "half_u", "half_v")
        )
        area = torch.linalg.cross(half_u, half_v).norm(dim=-1)
        if not bool((area > 0.0).all()):
            raise DataError(f"rectangle {int(area.argmin())} has no area")
        repeat = torch.tensor([plane.repeat for plane in planes], dtype=torch.float32)
        return cls(centre, half_u, half_v, repeat, table).to(device)

    def to(self, device: torch.device | str) -> PlaneScene:
        """The same scene on another device."""
        tensors = (tensor.to(device) for tensor in (self.centre, self.half_u, self.half_v, self.repeat))
        return PlaneScene(*tensors, textures=self.textures.to(device))

    @property
    def corners(self) -> Tensor:
        """(P, 4, 3) corners of the rectangles."""
        signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], device=self.centre.device)
        offsets = signs[:, :1] * self.half_u[:, None] + signs[:, 1:] * self.half_v[:, None]
        return self.centre[:, None] + offsets


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """What B cameras see, pixel (0, 0) being the centre of the top-left pixel.

    Attributes:
        image: (B, 3, H, W) RGB, 0 to 1.
        depth: (B, H, W) metres along the optical axis at the pixel's centre; inf where nothing is seen.
        plane: (B, H, W) index of the visible rectangle at the pixel's centre, -1 where nothing is seen.
    """

    image: Tensor
    depth: Tensor
    plane: Tensor


def render(
    scene: PlaneScene,
    camera_matrix: Tensor,
    T_world_camera: Tensor,
    width: int,
    height: int,
    supersampling: int = 2,
    background: float = 0.0,
) -> RenderedViews:
    """Render B views on the scene's device.

    Args:
        scene: the rectangles.
        camera_matrix: (B, 3, 3) pinhole matrices K in pixels of the rendered image.
        T_world_camera: (B, 4, 4) poses of the optical frames (x right, y down, z forward).
        width, height: size of the images in pixels.
        supersampling: samples per pixel along each axis; their mean is the pixel.
        background: grey level, 0 to 1, where nothing is seen.
    """
    device = scene.centre.device
    camera_matrix = camera_matrix.to(device, torch.float64)
    T_world_camera = T_world_camera.to(device, torch.float64)
    chunk = max(1, _SAMPLES_PER_CHUNK // (width * height * supersampling**2))
    views = [
        _render_chunk(scene, K, T, (height, width), supersampling, background)
        for K, T in zip(camera_matrix.split(chunk), T_world_camera.split(chunk), strict=True)
    ]
    return RenderedViews(
        torch.cat([view.image for view in views]),
        torch.cat([view.depth for view in views]),
        torch.cat([view.plane for view in views]),
    )


def _render_chunk(
    scene: PlaneScene, K: Tensor, T_world_camera: Tensor, size: tuple[int, int], factor: int, background: float
) -> RenderedViews:
    height, width = size
    coefficients = _plane_coefficients(scene, K, T_world_camera)
    boxes = _bounding_boxes(scene, K, T_world_camera, size)
    inverse_depth, plane = _visible(coefficients, boxes, size, 1)
    if factor > 1:
        fine_inverse_depth, fine_plane = _visible(coefficients, boxes, size, factor)
    else:
        fine_inverse_depth, fine_plane = inverse_depth, plane
    colours = _shade(scene, coefficients, fine_plane, fine_inverse_depth, factor, background)
    batch = K.shape[0]
    image = colours.reshape(batch, height, factor, width, factor, 3).mean(dim=(2, 4)).permute(0, 3, 1, 2)
    depth = torch.where(plane >= 0, 1.0 / inverse_depth, torch.inf)
    return RenderedViews(image.contiguous(), depth, plane)


def _plane_coefficients(scene: PlaneScene, K: Tensor, T_world_camera: Tensor) -> Tensor:
    """(B, P, 3, 3) float32: rows give 1/z, a/z and b/z of a rectangle as linear functions of (x, y, 1)."""
    origin, rotation = T_world_camera[:, None, :3, 3], T_world_camera[:, :3, :3]
    rays = rotation @ torch.linalg.inv(K)
    normal = torch.linalg.cross(scene.half_u, scene.half_v)
    square = normal.square().sum(-1, keepdim=True)
    # Dual basis: dual_u . half_u = 1, dual_u . half_v = 0, and the reverse.
    dual_u = torch.linalg.cross(scene.half_v, normal) / square
    dual_v = torch.linalg.cross(normal, scene.half_u) / square
    distance = ((scene.centre - origin) * normal).sum(-1)
    edge_on = distance.abs() < 1e-9 * square[:, 0].sqrt()
    inverse = torch.where(edge_on, 0.0, 1.0 / torch.where(edge_on, 1.0, distance))
    by_inverse_depth = torch.einsum("pi,bij->bpj", normal, rays) * inverse[..., None]
    rows = [by_inverse_depth]
    for dual in (dual_u, dual_v):
        offset = ((origin - scene.centre) * dual).sum(-1, keepdim=True)
        rows.append(offset * by_inverse_depth + torch.einsum("pi,bij->bpj", dual, rays))
    return torch.stack(rows, dim=2).float()


def _bounding_boxes(
    scene: PlaneScene, K: Tensor, T_world_camera: Tensor, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Per rectangle the window (left, top, right, bottom) in pixels, end exclusive, that holds it in every view."""
    height, width = size
    in_camera = (scene.corners[None] - T_world_camera[:, None, None, :3, 3]) @ T_world_camera[:, None, :3, :3]
    in_front = in_camera[..., 2] > NEAR
    projected = in_camera @ K[:, None].transpose(-1, -2)
    pixels = projected[..., :2] / projected[..., 2:].clamp(min=NEAR)
    limits = torch.tensor([width, height], device=K.device)
    low = torch.where(in_front.all(-1, keepdim=True), pixels.amin(2).floor(), 0.0)
    high = torch.where(in_front.all(-1, keepdim=True), pixels.amax(2).ceil() + 1.0, limits.double())
    hidden = ~in_front.any(-1, keepdim=True)
    low = torch.where(hidden, limits, low).amin(0).clamp(min=0.0)
    high = torch.minimum(torch.where(hidden, 0.0, high).amax(0), limits)
    boxes = torch.cat([low, high], dim=-1).long().tolist()
    return [(left, top, right, bottom) for left, top, right, bottom in boxes]


def _grid(start: int, stop: int, factor: int, device: torch.device) -> Tensor:
    """Positions of the samples of pixels start..stop-1, ``factor`` per pixel."""
    index = torch.arange(start * factor, stop * factor, device=device, dtype=torch.float32)
    return (index + 0.5) / factor - 0.5


def _visible(
    coefficients: Tensor, boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int], factor: int
) -> tuple[Tensor, Tensor]:
    """Inverse depth and index of the nearest rectangle at every sample, (B, H factor, W factor) each."""
    device, batch = coefficients.device, coefficients.shape[0]
    shape = (batch, size[0] * factor, size[1] * factor)
    nearest = torch.zeros(shape, device=device)
    visible = torch.full(shape, -1, dtype=torch.int32, device=device)
    for index, (left, top, right, bottom) in enumerate(boxes):
        if left >= right or top >= bottom:
            continue
        x, y = _grid(left, right, factor, device), _grid(top, bottom, factor, device)
        rows = coefficients[:, index, :, :, None, None]
        inverse, u, v = (rows[:, i, 0] * x + (rows[:, i, 1] * y[:, None] + rows[:, i, 2]) for i in range(3))
        window = (
            slice(None),
            slice(top * factor, bottom * factor),
            slice(left * factor, right * factor),
        )
        hit = (u.abs() <= inverse) & (v.abs() <= inverse) & (inverse > nearest[window]) & (inverse < 1.0 / NEAR)
        nearest[window] = torch.where(hit, inverse, nearest[window])
        visible[window].masked_fill_(hit, index)
    return nearest, visible


def _shade(
    scene: PlaneScene,
    coefficients: Tensor,
    plane: Tensor,
    inverse_depth: Tensor,
    factor: int,
    background: float,
) -> Tensor:
    """Colours (B, H factor, W factor, 3) of the samples."""
    batch, rows, columns = plane.shape
    device = plane.device
    x = _grid(0, columns // factor, factor, device).expand(batch, rows, columns).flatten()
    y = _grid(0, rows // factor, factor, device)[:, None].expand(batch, rows, columns).flatten()
    view = torch.arange(batch, device=device)[:, None, None].expand_as(plane).flatten()
    seen = plane.flatten() >= 0
    texture = plane.flatten().clamp(min=0).long()
    row = view * coefficients.shape[1] + texture
    inverse = inverse_depth.flatten().clamp(min=1e-6)
    table = _texture_coefficients(scene, coefficients).flatten(0, 1)
    by_inverse, by_u, by_v = table.unbind(1)
    coordinates, footprint = _texture_coordinates(
        by_inverse[row], by_u[row], by_v[row], torch.stack([x, y, torch.ones_like(x)], dim=1), inverse
    )
    size = torch.stack([scene.textures.width[:, 0], scene.textures.height[:, 0]], dim=1)[texture]
    level = _mip_level(footprint * size[:, None] / factor)
    colours = scene.textures.sample(texture, coordinates, level)
    return torch.where(seen[:, None], colours, background).reshape(batch, rows, columns, 3)


def _texture_coefficients(scene: PlaneScene, coefficients: Tensor) -> Tensor:
    """(B, P, 3, 3): like the coefficients, but of the texture's coordinates (0 to ``repeat``) times 1/z."""
    inverse = coefficients[:, :, :1]
    along = (coefficients[:, :, 1:] + inverse) * (0.5 * scene.repeat[..., None])
    return torch.cat([inverse, along], dim=2)


def _texture_coordinates(
    by_inverse: Tensor, by_u: Tensor, by_v: Tensor, pixel: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Texture coordinates (N, 2) and their derivatives (N, 2 pixel axes, 2 texture axes) per pixel."""
    scale = 1.0 / inverse
    coordinates = torch.stack([(by_u * pixel).sum(1), (by_v * pixel).sum(1)], dim=1) * scale[:, None]
    numerators = torch.stack([by_u[:, :2], by_v[:, :2]], dim=2)
    footprint = (numerators - coordinates[:, None] * by_inverse[:, :2, None]) * scale[:, None, None]
    return coordinates, footprint


def _mip_level(footprint: Tensor) -> Tensor:
    """Level (N,) of a footprint (N, 2, 2) in texels: as sharp as its shorter side, at most 2 below its longer.

    The samples of a pixel are averaged, which absorbs the little aliasing that this leaves on slanted surfaces.
    """
    length = footprint.square().sum(-1).sqrt()
    extent = torch.maximum(length.amin(1), 0.5 * length.amax(1))
    return torch.log2(extent.clamp(min=1e-6))

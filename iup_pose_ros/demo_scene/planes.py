"""Batched ray casting of textured rectangles: image, depth and index of the visible rectangle.

The inverse depth 1/z of a plane, and the position (a, b) on the plane times 1/z, are linear functions of the
pixel (x, y, 1). A rectangle is thus represented by three 3-vectors per view (the homography of the plane;
Hartley and Zisserman, "Multiple View Geometry", section 13.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.demo_scene.shading import FAR_INVERSE, sample_positions, shade
from iup_pose_ros.demo_scene.textures import TextureTable
from iup_pose_ros.errors import DataError

_NEAR = 0.01  # near plane that clips rectangles before their bounding box is computed, metres
_SAMPLES_PER_CHUNK = 1 << 22  # limits the memory of one pass over a batch


@dataclass(frozen=True, eq=False)
class TexturedPlane:
    """A rectangle ``centre + a half_u + b half_v`` with a and b from -1 to 1.

    Attributes:
        centre, half_u, half_v: (3,) in metres, world frame.
        texture: uint8 (H, W, 3) RGB, rows along half_u, columns along half_v; (-1, -1) is top left.
        repeat: number of copies of the texture along half_u and half_v; every second copy is mirrored.
        one_sided: visible only from the side from which the texture is not mirrored.
    """

    centre: ArrayLike
    half_u: ArrayLike
    half_v: ArrayLike
    texture: NDArray[np.uint8]
    repeat: tuple[float, float] = (1.0, 1.0)
    one_sided: bool = False


@dataclass(frozen=True, eq=False)
class PlaneScene:
    """P rectangles as tensors.

    Attributes:
        centre, half_u, half_v: (P, 3) float64, metres, world frame.
        repeat: (P, 2) float32.
        one_sided: (P,) bool.
        textures: one texture per rectangle.
    """

    centre: Tensor
    half_u: Tensor
    half_v: Tensor
    repeat: Tensor
    one_sided: Tensor
    textures: TextureTable

    @classmethod
    def from_planes(cls, planes: Sequence[TexturedPlane], device: torch.device | str = "cpu") -> PlaneScene:
        """Create a scene from one or more rectangles.

        Raises:
            DataError: there is no rectangle, a rectangle has no area, or a texture is not uint8 (H, W, 3).
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
        one_sided = torch.tensor([plane.one_sided for plane in planes])
        return cls(centre, half_u, half_v, repeat, one_sided, table).to(device)

    def to(self, device: torch.device | str) -> PlaneScene:
        """Return a copy of the scene on a device."""
        return PlaneScene(
            self.centre.to(device),
            self.half_u.to(device),
            self.half_v.to(device),
            self.repeat.to(device),
            self.one_sided.to(device),
            self.textures.to(device),
        )

    @property
    def corners(self) -> Tensor:
        """Return the corners (P, 4, 3) of the rectangles, metres, world frame."""
        signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], device=self.centre.device)
        offsets = signs[:, :1] * self.half_u[:, None] + signs[:, 1:] * self.half_v[:, None]
        return self.centre[:, None] + offsets


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """B rendered views.

    Attributes:
        image: (B, 3, H, W) RGB, 0 to 1.
        plane: (B, H, W) index of the nearest rectangle in the pixel; -1: background.
        depth: (B, H, W) depth of its plane at the pixel centre along the optical axis, metres; inf:
            background.
    """

    image: Tensor
    plane: Tensor
    depth: Tensor


def render(
    scene: PlaneScene,
    camera_matrix: Tensor,
    T_world_camera: Tensor,
    width: int,
    height: int,
    supersampling: int = 2,
    background: float = 0.0,
) -> RenderedViews:
    """Render B views on the device of the scene.

    Args:
        scene: rectangles to render.
        camera_matrix: (B, 3, 3) camera matrices K; pixel (0, 0) is the centre of the top-left pixel.
        T_world_camera: (B, 4, 4) poses of the optical frames (x right, y down, z forward).
        width, height: image size in pixels.
        supersampling: number of samples per pixel along each axis, which are averaged.
        background: grey level of the background, 0 to 1.
    """
    device = scene.centre.device
    camera_matrix = camera_matrix.to(device, torch.float64)
    T_world_camera = T_world_camera.to(device, torch.float64)
    chunk = max(1, _SAMPLES_PER_CHUNK // (width * height * supersampling**2))
    size, views = (height, width), []
    for K, T in zip(camera_matrix.split(chunk), T_world_camera.split(chunk), strict=True):
        coefficients = plane_coefficients(scene, K, T)
        seen = (coefficients[:, :, 0] != 0.0).any(-1)
        boxes = bounding_boxes(scene, seen, K, T, size)
        inverse_depth, plane = nearest_planes(coefficients, boxes, size, supersampling)
        colours = shade(
            scene.textures, scene.repeat, coefficients, plane, inverse_depth, supersampling, background
        )
        image = functional.avg_pool2d(colours.permute(0, 3, 1, 2), supersampling).contiguous()
        views.append(RenderedViews(image, *reduce_samples(coefficients, plane, inverse_depth, supersampling)))
    return RenderedViews(
        torch.cat([view.image for view in views]),
        torch.cat([view.plane for view in views]),
        torch.cat([view.depth for view in views]),
    )


def reduce_samples(
    coefficients: Tensor, plane: Tensor, inverse_depth: Tensor, factor: int
) -> tuple[Tensor, Tensor]:
    """Return the nearest rectangle of each pixel, (B, H, W), and its depth at the pixel centre."""
    inverse = inverse_depth[:, ::factor, ::factor].clone()
    nearest = plane[:, ::factor, ::factor].clone()
    for row in range(factor):
        for column in range(factor):
            other = inverse_depth[:, row::factor, column::factor]
            nearer = other > inverse
            inverse = torch.where(nearer, other, inverse)
            nearest = torch.where(nearer, plane[:, row::factor, column::factor], nearest)
    batch, rows, columns = nearest.shape
    view = torch.arange(batch, device=nearest.device)[:, None, None]
    a, b, c = coefficients[view, nearest.clamp(min=0).long(), 0].unbind(-1)
    x = sample_positions(0, columns, 1, nearest.device)
    y = sample_positions(0, rows, 1, nearest.device)[:, None]
    depth = torch.where(nearest >= 0, 1.0 / (a * x + b * y + c).clamp(min=FAR_INVERSE), torch.inf)
    return nearest, depth


def plane_coefficients(scene: PlaneScene, K: Tensor, T_world_camera: Tensor) -> Tensor:
    """Return (B, P, 3, 3) float32 whose rows are 1/z, a/z and b/z as linear functions of (x, y, 1)."""
    origin, rotation = T_world_camera[:, None, :3, 3], T_world_camera[:, :3, :3]
    rays = rotation @ torch.linalg.inv(K)
    normal = torch.linalg.cross(scene.half_u, scene.half_v)
    square = normal.square().sum(-1, keepdim=True)
    # Dual basis: dual_u . half_u = 1, dual_u . half_v = 0, and vice versa.
    dual_u = torch.linalg.cross(scene.half_v, normal) / square
    dual_v = torch.linalg.cross(normal, scene.half_u) / square
    distance = ((scene.centre - origin) * normal).sum(-1)
    # Seen from the front, half_u x half_v points away from the camera. Invisible planes get inverse depth 0.
    unseen = (distance.abs() < 1e-9 * square[:, 0].sqrt()) | (scene.one_sided & (distance < 0.0))
    inverse = torch.where(unseen, 0.0, 1.0 / torch.where(unseen, 1.0, distance))
    by_inverse_depth = torch.einsum("pi,bij->bpj", normal, rays) * inverse[..., None]
    rows = [by_inverse_depth]
    for dual in (dual_u, dual_v):
        offset = ((origin - scene.centre) * dual).sum(-1, keepdim=True)
        rows.append(offset * by_inverse_depth + torch.einsum("pi,bij->bpj", dual, rays))
    return torch.stack(rows, dim=2).float()


def bounding_boxes(
    scene: PlaneScene, seen: Tensor, K: Tensor, T_world_camera: Tensor, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Return the box (left, top, right, bottom), end exclusive, of each rectangle over all views."""
    limits = torch.tensor([size[1], size[0]], device=K.device, dtype=K.dtype)
    corners = (scene.corners[None] - T_world_camera[:, None, None, :3, 3]) @ T_world_camera[:, None, :3, :3]
    # Clip the rectangles at the near plane: corners in front of it, and intersections of the edges with it.
    in_front = corners[..., 2] > _NEAR
    following = corners.roll(-1, dims=2)
    rise = following[..., 2] - corners[..., 2]
    crosses = in_front != in_front.roll(-1, dims=2)
    fraction = (_NEAR - corners[..., 2]) / torch.where(crosses, rise, 1.0)
    crossings = corners + fraction[..., None] * (following - corners)
    points, valid = torch.cat([corners, crossings], dim=2), torch.cat([in_front, crosses], dim=2)
    projected = points @ K[:, None].transpose(-1, -2)
    pixels = projected[..., :2] / projected[..., 2:]
    valid = (valid & seen[..., None])[..., None]
    low = torch.where(valid, pixels, torch.inf).amin(2).floor().amin(0).clamp(min=0.0)
    high = torch.where(valid, pixels, -torch.inf).amax(2).ceil().amax(0) + 1.0
    boxes = torch.cat([torch.minimum(low, limits), torch.minimum(high, limits)], dim=-1).long().tolist()
    return [(left, top, right, bottom) for left, top, right, bottom in boxes]


def nearest_planes(
    coefficients: Tensor, boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int], factor: int
) -> tuple[Tensor, Tensor]:
    """Return inverse depth and index of each sample's rectangle, each (B, H factor, W factor)."""
    device, batch = coefficients.device, coefficients.shape[0]
    shape = (batch, size[0] * factor, size[1] * factor)
    nearest = torch.zeros(shape, device=device)
    visible = torch.full(shape, -1, dtype=torch.int32, device=device)
    all_x, all_y = (sample_positions(0, extent, factor, device) for extent in (size[1], size[0]))
    for index, (left, top, right, bottom) in enumerate(boxes):
        if left >= right or top >= bottom:
            continue
        across, down = slice(left * factor, right * factor), slice(top * factor, bottom * factor)
        # Each linear function is a row vector (x) plus a column vector (y), which needs one pass over memory.
        by_x, by_y, constant = coefficients[:, index, :, :, None].unbind(2)
        row, column = by_x * all_x[across], by_y * all_y[down] + constant
        inverse, u, v = (row[:, i, None, :] + column[:, i, :, None] for i in range(3))
        window, marks = nearest[:, down, across], visible[:, down, across]
        bound = torch.maximum(torch.maximum(u.abs_(), v.abs_()), window)
        hit = inverse > bound
        torch.where(hit, inverse, window, out=window)
        marks.masked_fill_(hit, index)
    return nearest, visible

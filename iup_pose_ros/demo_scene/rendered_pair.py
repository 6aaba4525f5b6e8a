"""Random image pairs with exact relative pose, depth and visibility, for tests and overfitting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.geometry import so3

# Centre, half axes (metres) and texture repetitions of walls, floor and ceiling of a random scene.
_BOX = (
    ((0.0, 3.0, 0.0), (3.0, 0.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((0.0, -3.0, 0.0), (-3.0, 0.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((3.0, 0.0, 0.0), (0.0, -3.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((-3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((0.0, 0.0, -1.5), (3.0, 0.0, 0.0), (0.0, -3.0, 0.0), 1.0),
    ((0.0, 0.0, 1.5), (3.0, 0.0, 0.0), (0.0, 3.0, 0.0), 1.0),
)
_ATTEMPTS = 100
_DEPTH_TOLERANCE = 0.02  # relative depth difference above which a point is occluded


@dataclass(frozen=True)
class Regime:
    """Limits of the relative pose of a pair.

    Attributes:
        rotation: maximum angle, degrees.
        baseline: minimum and maximum distance, relative to the median depth of view 0.
        overlap: minimum fraction of the pixels of view 0 that are visible in view 1.
    """

    rotation: float
    baseline: tuple[float, float]
    overlap: float


REGIMES: Mapping[str, Regime] = MappingProxyType(
    {
        "video": Regime(rotation=8.0, baseline=(0.03, 0.15), overlap=0.7),
        "wide": Regime(rotation=30.0, baseline=(0.1, 0.5), overlap=0.35),
    }
)


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """B pairs of views.

    Attributes:
        image_0, image_1: (B, 3, H, W) RGB, 0 to 1.
        K: (B, 3, 3) camera matrix of both views; pixel (0, 0) is the centre of the top-left pixel.
        R_1_0: (B, 3, 3) rotation of X_1 = R_1_0 X_0 + t_1_0 in optical frames.
        t_1_0: (B, 3) translation, metres.
        depth_0, depth_1: (B, H, W) depth along the optical axis, metres.
        visible_0: (B, H, W) bool, whether the scene point of a pixel of view 0 is visible in view 1.
    """

    image_0: Tensor
    image_1: Tensor
    K: Tensor
    R_1_0: Tensor
    t_1_0: Tensor
    depth_0: Tensor
    depth_1: Tensor
    visible_0: Tensor


def random_scene(
    textures: Sequence[NDArray[np.uint8]], generator: torch.Generator, rectangles: int = 12
) -> PlaneScene:
    """Create a closed box of 6 x 6 x 3 m that contains rectangles of random position and orientation.

    Args:
        textures: uint8 images (H, W, 3), of which each surface gets a random one.
        generator: random generator.
        rectangles: number of rectangles in the box.
    """
    planes = [
        TexturedPlane(centre, half_u, half_v, _choice(textures, generator), (repeat, 1.0))
        for centre, half_u, half_v, repeat in _BOX
    ]
    for _ in range(rectangles):
        rotation = torch.linalg.qr(_normal(generator, 3, 3))[0]
        bearing = _uniform(generator, -math.pi, math.pi)
        radius = _uniform(generator, 1.2, 2.6)
        centre = (radius * math.cos(bearing), radius * math.sin(bearing), _uniform(generator, -1.2, 1.2))
        half_u, half_v = (rotation[i] * _uniform(generator, 0.2, 0.6) for i in range(2))
        planes.append(TexturedPlane(centre, half_u.numpy(), half_v.numpy(), _choice(textures, generator)))
    return PlaneScene.from_planes(planes)


def random_pair(
    scene: PlaneScene,
    generator: torch.Generator,
    width: int,
    height: int,
    regime: str = "video",
    spread: float = 0.5,
) -> RenderedPair:
    """Render a random pair (B = 1) of cameras near the origin with a field of view of 50 to 90 degrees.

    Args:
        scene: scene to render, z up.
        generator: random generator on the CPU.
        width, height: image size in pixels.
        regime: a key of ``REGIMES``.
        spread: maximum distance of camera 0 from the origin along each axis, metres.

    Raises:
        ConfigurationError: the regime is unknown.
        DataError: no pair with the required overlap was found in this scene.
    """
    if regime not in REGIMES:
        raise ConfigurationError(f"unknown regime {regime!r}; accepted: {sorted(REGIMES)}")
    limits = REGIMES[regime]
    for _ in range(_ATTEMPTS):
        pair = sample_pair(scene, generator, width, height, limits, spread)
        valid = bool(pair.depth_0.isfinite().all()) and float(pair.depth_0.quantile(0.02)) > 0.3
        if valid and float(pair.visible_0.float().mean()) >= limits.overlap:
            return pair
    raise DataError(f"no pair of regime {regime!r} found in this scene in {_ATTEMPTS} attempts")


def concatenate(pairs: Sequence[RenderedPair]) -> RenderedPair:
    """Concatenate pairs of equal image size to one batch."""
    names = [entry.name for entry in fields(RenderedPair)]
    return RenderedPair(**{name: torch.cat([getattr(pair, name) for pair in pairs]) for name in names})


def warp_0_to_1(depth_0: Tensor, K: Tensor, R_1_0: Tensor, t_1_0: Tensor) -> tuple[Tensor, Tensor]:
    """Project the pixels of view 0 into view 1 by depth and relative pose.

    Args:
        depth_0: (B, H, W) metres.
        K: (B, 3, 3) camera matrix of both views.
        R_1_0, t_1_0: (B, 3, 3) and (B, 3), see ``RenderedPair``.

    Returns:
        Pixels (B, H, W, 2) and depth (B, H, W) in view 1.
    """
    batch, height, width = depth_0.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=K.device), torch.arange(width, device=K.device), indexing="ij"
    )
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3).to(depth_0.dtype)
    points = (pixels @ torch.linalg.inv(K).transpose(1, 2)) * depth_0.reshape(batch, -1, 1)
    in_view_1 = points @ R_1_0.transpose(1, 2) + t_1_0[:, None]
    projected = in_view_1 @ K.transpose(1, 2)
    pixels_1 = projected[..., :2] / projected[..., 2:].clamp(min=1e-6)
    return pixels_1.reshape(batch, height, width, 2), in_view_1[..., 2].reshape(batch, height, width)


def sample_at(values: Tensor, pixels: Tensor) -> Tensor:
    """Sample values (B, C, H, W) bilinearly at pixels (B, h, w, 2); return (B, C, h, w), zero outside."""
    height, width = values.shape[2:]
    extent = torch.tensor([width - 1, height - 1], device=values.device, dtype=values.dtype)
    return functional.grid_sample(values, 2.0 * pixels / extent - 1.0, align_corners=True)


def visible_in_1(depth_0: Tensor, depth_1: Tensor, K: Tensor, R_1_0: Tensor, t_1_0: Tensor) -> Tensor:
    """Return whether (B, H, W) the scene points of view 0's pixels are visible in view 1."""
    pixels, depth = warp_0_to_1(depth_0, K, R_1_0, t_1_0)
    # The inverse depth of a plane is linear in the pixel, so that its bilinear interpolation is exact.
    seen = sample_at(1.0 / depth_1[:, None], pixels)[:, 0]
    height, width = depth_0.shape[1:]
    limits = torch.tensor([width - 1.0, height - 1.0], device=pixels.device)
    inside = ((pixels >= 0.0) & (pixels <= limits)).all(-1)
    return inside & (depth > 0.0) & ((seen * depth - 1.0).abs() < _DEPTH_TOLERANCE)


def sample_pair(
    scene: PlaneScene, generator: torch.Generator, width: int, height: int, limits: Regime, spread: float
) -> RenderedPair:
    """Render one random pair within the limits of rotation and baseline, whatever its overlap."""
    focal = 0.5 * width / math.tan(math.radians(_uniform(generator, 50.0, 90.0)) / 2.0)
    centre = [(width - 1) / 2.0, (height - 1) / 2.0]
    K = torch.tensor([[[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]]])
    T_world_0 = random_pose(generator, spread)
    view_0 = render(scene, K, T_world_0[None], width, height)
    axis, direction = (functional.normalize(_normal(generator, 3), dim=0) for _ in range(2))
    angle = math.radians(_uniform(generator, 0.0, limits.rotation))
    distance = _uniform(generator, *limits.baseline) * float(view_0.depth.median())
    T_0_1 = torch.eye(4, dtype=torch.float64)
    T_0_1[:3, :3] = torch.from_numpy(so3.exp((axis * angle).numpy()))
    T_0_1[:3, 3] = direction * distance
    view_1 = render(scene, K, (T_world_0 @ T_0_1)[None], width, height)
    T_1_0 = torch.linalg.inv(T_0_1).float().to(view_0.depth.device)[None]
    R_1_0, t_1_0, K = T_1_0[:, :3, :3], T_1_0[:, :3, 3], K.to(T_1_0)
    visible_0 = visible_in_1(view_0.depth, view_1.depth, K, R_1_0, t_1_0)
    return RenderedPair(view_0.image, view_1.image, K, R_1_0, t_1_0, view_0.depth, view_1.depth, visible_0)


def random_pose(generator: torch.Generator, spread: float) -> Tensor:
    """Return T_world_camera (4, 4) near the origin with any heading, pitch up to 20 and roll up to 10 deg."""
    heading = _uniform(generator, -math.pi, math.pi)
    pitch, roll = (math.radians(_uniform(generator, -limit, limit)) for limit in (20.0, 10.0))
    level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    turns = so3.exp(np.array([[0.0, 0.0, heading], [pitch, 0.0, 0.0], [0.0, 0.0, roll]]))
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(turns[0] @ level @ turns[1] @ turns[2])
    pose[:3, 3] = torch.tensor([_uniform(generator, -spread, spread) for _ in range(3)])
    return pose


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _choice(textures: Sequence[NDArray[np.uint8]], generator: torch.Generator) -> NDArray[np.uint8]:
    return textures[int(torch.randint(len(textures), (), generator=generator))]

"""Random two-view pairs with exact relative pose, depth and visibility, for tests and fitting a network."""

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

# Centre, half axes and texture repeats of the walls, floor and ceiling of a random scene, metres.
_BOX = (
    ((0.0, 3.0, 0.0), (3.0, 0.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((0.0, -3.0, 0.0), (-3.0, 0.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((3.0, 0.0, 0.0), (0.0, -3.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((-3.0, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 0.0, -1.5), 2.0),
    ((0.0, 0.0, -1.5), (3.0, 0.0, 0.0), (0.0, -3.0, 0.0), 1.0),
    ((0.0, 0.0, 1.5), (3.0, 0.0, 0.0), (0.0, 3.0, 0.0), 1.0),
)
_ATTEMPTS = 100
_DEPTH_TOLERANCE = 0.02  # relative; a point whose depth differs more from the surface seen is hidden


@dataclass(frozen=True)
class Regime:
    """How far both views of a pair lie apart.

    Attributes:
        rotation: greatest angle, degrees.
        baseline: least and greatest distance, as a share of the median depth of view 0.
        overlap: least share of view 0's pixels that are visible in view 1.
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
        K: (B, 3, 3) pinhole matrix of both views, pixel (0, 0) at the centre of the top-left pixel.
        R_1_0: (B, 3, 3), t_1_0: (B, 3) metres: X_1 = R_1_0 X_0 + t_1_0, optical frames.
        depth_0, depth_1: (B, H, W) metres along the optical axis.
        visible_0: (B, H, W) bool, whether the point seen by a pixel of view 0 is seen by view 1.
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
    """A closed box of 6 x 6 x 3 m with freely oriented rectangles between its centre and its walls.

    Args:
        textures: uint8 images (H, W, 3), drawn at random for every surface.
        generator: source of all randomness.
        rectangles: number of free rectangles.
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
    """One pair (B = 1): cameras near the scene's origin, z up, with a field of view of 50 to 90 degrees.

    Args:
        scene: what is seen.
        generator: source of all randomness, on the CPU.
        width, height: size of the images in pixels.
        regime: a key of ``REGIMES``.
        spread: greatest distance of camera 0 from the origin along each axis, metres.

    Raises:
        ConfigurationError: there is no such regime.
        DataError: no pair with the overlap of the regime was found in this scene.
    """
    if regime not in REGIMES:
        raise ConfigurationError(f"regime {regime!r} is not known; there are {sorted(REGIMES)}")
    limits = REGIMES[regime]
    for _ in range(_ATTEMPTS):
        pair = _draw_pair(scene, generator, width, height, limits, spread)
        near_enough = bool(pair.depth_0.isfinite().all()) and float(pair.depth_0.quantile(0.02)) > 0.3
        if near_enough and float(pair.visible_0.float().mean()) >= limits.overlap:
            return pair
    raise DataError(f"no pair of regime {regime!r} found in this scene in {_ATTEMPTS} attempts")


def concatenate(pairs: Sequence[RenderedPair]) -> RenderedPair:
    """One batch of the pairs of several scenes; their images have one size."""
    names = [entry.name for entry in fields(RenderedPair)]
    return RenderedPair(**{name: torch.cat([getattr(pair, name) for pair in pairs]) for name in names})


def warp_0_to_1(depth_0: Tensor, K: Tensor, R_1_0: Tensor, t_1_0: Tensor) -> tuple[Tensor, Tensor]:
    """Where view 1 sees the points of view 0's pixels: pixels (B, H, W, 2) and depth (B, H, W) in view 1."""
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
    """Values (B, C, H, W) at fractional pixels (B, h, w, 2), bilinear: (B, C, h, w); zero outside."""
    height, width = values.shape[2:]
    extent = torch.tensor([width - 1, height - 1], device=values.device, dtype=values.dtype)
    return functional.grid_sample(values, 2.0 * pixels / extent - 1.0, align_corners=True)


def visible_in_1(depth_0: Tensor, depth_1: Tensor, K: Tensor, R_1_0: Tensor, t_1_0: Tensor) -> Tensor:
    """(B, H, W) bool: the point seen by a pixel of view 0 lies inside view 1 and is not hidden there."""
    pixels, depth = warp_0_to_1(depth_0, K, R_1_0, t_1_0)
    # On a plane the inverse depth, not the depth, is linear in the pixel: bilinear look-up is exact.
    seen = sample_at(1.0 / depth_1[:, None], pixels)[:, 0]
    height, width = depth_0.shape[1:]
    limits = torch.tensor([width - 1.0, height - 1.0], device=pixels.device)
    inside = ((pixels >= 0.0) & (pixels <= limits)).all(-1)
    return inside & (depth > 0.0) & ((seen * depth - 1.0).abs() < _DEPTH_TOLERANCE)


def _draw_pair(
    scene: PlaneScene, generator: torch.Generator, width: int, height: int, limits: Regime, spread: float
) -> RenderedPair:
    focal = 0.5 * width / math.tan(math.radians(_uniform(generator, 50.0, 90.0)) / 2.0)
    centre = [(width - 1) / 2.0, (height - 1) / 2.0]
    K = torch.tensor([[[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]]])
    T_world_0 = _random_pose(generator, spread)
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


def _random_pose(generator: torch.Generator, spread: float) -> Tensor:
    """T_world_camera (4, 4) near the origin: any heading, pitch and roll of a hand-held camera, z up."""
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

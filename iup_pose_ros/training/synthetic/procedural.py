"""Scenes made up by chance and covered with photographs: rooms, free planes, boxes, streets, height fields.

All are in metres with z up, so that the motions of a camera mean the same as in modelled scenes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.synthetic.mesh import texture_stack
from iup_pose_ros.training.synthetic.mesh_builder import MeshBuilder
from iup_pose_ros.training.synthetic.scenes import Scene
from iup_pose_ros.training.synthetic.sky import fractal
from iup_pose_ros.types import Picture

Vector = NDArray[np.float64]
Rng = np.random.Generator

TEXTURE_SIZE = 512
_VIEWPOINTS = 48
_ROUND = 0.35  # share of solids that are round
_CLEARANCE = 0.5  # metres between a viewpoint and every box
_GROUND = 60.0  # metres from the middle of an outdoor scene to its rim


@dataclass(frozen=True, eq=False)
class _Box:
    """A solid box turned about z."""

    centre: Vector
    half: Vector
    yaw: float

    def distance(self, points: Vector) -> Vector:
        """Distances (N,) of points (N, 3); 0 inside."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        outside = np.abs((points - self.centre) @ turn) - self.half
        return np.asarray(np.linalg.norm(np.maximum(outside, 0.0), axis=1))


def procedural_scene(kind: str, photographs: Sequence[Picture], rng: Rng) -> Scene:
    """A random scene.

    Args:
        kind: a key of ``KINDS``.
        photographs: (H, W, 3) uint8 RGB, one texture each; they also cover distractors.
        rng: source of all randomness.

    Raises:
        ConfigurationError: there is no such kind.
        DataError: there is no photograph.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"there is no procedural scene {kind!r}; accepted: {', '.join(KINDS)}")
    if not photographs:
        raise DataError("a procedural scene needs at least one photograph")
    builder = MeshBuilder(len(photographs), rng)
    viewpoints = KINDS[kind](builder, rng)
    mesh = builder.mesh(texture_stack(photographs, TEXTURE_SIZE))
    return Scene(kind, mesh, viewpoints, tuple(range(len(photographs))))


def _room(builder: MeshBuilder, rng: Rng) -> Vector:
    """A furnished room with pictures on its walls."""
    half = np.array([rng.uniform(1.8, 6.0), rng.uniform(1.8, 6.0), rng.uniform(1.15, 1.9)])
    middle = np.array([0.0, 0.0, half[2]])
    _add_walls(builder, middle, half, rng)
    boxes = [_furniture(half, rng) for _ in range(rng.integers(3, 16))]
    for box in boxes:
        _add_solid(builder, box, rng.uniform(0.5, 2.0), rng)
    for _ in range(rng.integers(0, 10)):
        _add_picture(builder, middle, half, rng)
    low, high = middle - half + 0.5, middle + half - 0.5
    low[2] = 0.6
    return _free_viewpoints(low, high, boxes, rng)


def _add_walls(builder: MeshBuilder, middle: Vector, half: Vector, rng: Rng) -> None:
    layers = [builder.layer() for _ in range(rng.integers(1, 5))]
    for axis, (u, v) in enumerate(((1, 2), (0, 2), (0, 1))):
        for side in (-1.0, 1.0):
            outward, right, down = np.zeros(3), np.zeros(3), np.zeros(3)
            outward[axis], right[u], down[v] = side * half[axis], half[u], -half[v]
            metres = rng.uniform(1.2, 5.0)
            repeat = 2.0 * half[[u, v]] / metres
            layer = int(rng.choice(layers)) if axis < 2 else builder.layer()
            builder.add_rectangle(middle + outward, right, down, repeat, layer)


def _add_solid(builder: MeshBuilder, box: _Box, metres: float, rng: Rng) -> None:
    """The box itself, or something round that fits into it."""
    if rng.random() < _ROUND:
        builder.add_blob(box.centre, box.half, builder.layer())
    else:
        builder.add_box(box.centre, box.half, box.yaw, metres)


def _furniture(half: Vector, rng: Rng) -> _Box:
    """A box on the floor, rather at the walls than in the middle."""
    size = np.array([rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.8), rng.uniform(0.1, 0.9)])
    position = half[:2] * np.sign(rng.uniform(-1.0, 1.0, 2)) * np.sqrt(rng.random(2))
    return _Box(np.array([*position, size[2]]), size, rng.uniform(0.0, math.pi))


def _add_picture(builder: MeshBuilder, middle: Vector, half: Vector, rng: Rng) -> None:
    axis = int(rng.integers(2))
    other = 1 - axis
    side = rng.choice((-1.0, 1.0))
    centre = middle + half * np.array([*rng.uniform(-0.8, 0.8, 2), rng.uniform(-0.4, 0.7)])
    centre[axis] = middle[axis] + side * (half[axis] - 0.015)
    right = np.zeros(3)
    right[other] = rng.uniform(0.15, 0.9)
    builder.add_rectangle(centre, right, (0.0, 0.0, -rng.uniform(0.15, 0.6)), (1.0, 1.0), builder.layer())


def _planes(builder: MeshBuilder, rng: Rng) -> Vector:
    """Rectangles in all positions around the viewpoints, often with ground under them."""
    if rng.random() < 0.6:
        _add_ground(builder, rng, relief=0.0)
    for _ in range(rng.integers(15, 50)):
        bearing, distance = rng.uniform(-math.pi, math.pi), rng.uniform(2.5, 15.0)
        centre = distance * np.array([math.cos(bearing), math.sin(bearing), 0.0])
        centre[2] = 1.5 + 0.25 * distance * rng.standard_normal()
        _add_facing(builder, centre, 0.35 * distance * rng.uniform(0.4, 1.6, 2), rng)
    if rng.random() < 0.5:
        _add_backdrop(builder, rng)
    return _free_viewpoints(np.array([-1.0, -1.0, 0.8]), np.array([1.0, 1.0, 2.2]), [], rng)


def _add_facing(builder: MeshBuilder, centre: Vector, half: Vector, rng: Rng) -> None:
    """A rectangle turned towards the middle of the scene by and large."""
    away = centre / np.linalg.norm(centre) + 0.6 * rng.standard_normal(3)
    away /= np.linalg.norm(away)
    upright = np.array([0.0, 0.0, 1.0]) + 0.25 * rng.standard_normal(3)
    right = np.cross(away, upright)
    right /= np.linalg.norm(right)
    down = np.cross(away, right)
    builder.add_rectangle(centre, half[0] * right, half[1] * down, (1.0, 1.0), builder.layer())


def _add_backdrop(builder: MeshBuilder, rng: Rng) -> None:
    """Four big walls far behind everything else."""
    distance, height = rng.uniform(16.0, 30.0), rng.uniform(4.0, 15.0)
    for quarter in range(4):
        cos, sin = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)
        right = distance * np.array([sin, -cos, 0.0])
        repeat = np.array([2.0, 2.0 * height / distance]) * rng.uniform(1.0, 2.5)
        centre = (distance * cos, distance * sin, height - 1.0)
        builder.add_rectangle(centre, right, (0.0, 0.0, -height), repeat, builder.layer())


def _boxes(builder: MeshBuilder, rng: Rng) -> Vector:
    """Boxes of all sizes on open ground."""
    _add_ground(builder, rng, relief=0.0)
    boxes = []
    for _ in range(rng.integers(25, 70)):
        half = np.exp(rng.uniform(math.log(0.2), math.log(3.0), 3))
        bearing, distance = rng.uniform(-math.pi, math.pi), rng.uniform(3.0, 30.0)
        centre = np.array([distance * math.cos(bearing), distance * math.sin(bearing), half[2]])
        boxes.append(_Box(centre, half, rng.uniform(0.0, math.pi)))
        _add_solid(builder, boxes[-1], rng.uniform(1.0, 4.0), rng)
    return _free_viewpoints(np.array([-12.0, -12.0, 0.7]), np.array([12.0, 12.0, 2.5]), boxes, rng)


def _street(builder: MeshBuilder, rng: Rng) -> Vector:
    """A road between houses, with parked boxes at its sides; cameras look along it."""
    _add_ground(builder, rng, relief=0.0)
    half_width = rng.uniform(3.5, 9.0)
    road = rng.uniform(2.0, 6.0)
    builder.add_rectangle(
        (0.0, 0.0, 0.02),
        (_GROUND, 0.0, 0.0),
        (0.0, -0.6 * half_width, 0.0),
        (60.0 / road, 1.0),
        builder.layer(),
    )
    boxes = _houses(half_width, rng) + _parked(half_width, rng)
    for box in boxes:
        builder.add_box(box.centre, box.half, box.yaw, rng.uniform(2.0, 7.0) if box.half[2] > 1.5 else 4.0)
    low = np.array([-40.0, -0.5 * half_width, 1.2])
    viewpoints = _free_viewpoints(low, np.array([40.0, 0.5 * half_width, 2.2]), boxes, rng)
    along = np.where(rng.random(len(viewpoints)) < 0.5, 0.0, math.pi) + rng.normal(0.0, 0.2, len(viewpoints))
    viewpoints[:, 3] = np.where(rng.random(len(viewpoints)) < 0.8, along, viewpoints[:, 3])
    return viewpoints


def _houses(half_width: float, rng: Rng) -> list[_Box]:
    boxes = []
    for side in (-1.0, 1.0):
        x = -_GROUND
        while x < _GROUND:
            half = np.array([rng.uniform(2.0, 7.0), rng.uniform(2.0, 5.0), rng.uniform(1.5, 7.0)])
            y = side * (half_width + half[1] + rng.uniform(0.0, 2.0))
            boxes.append(_Box(np.array([x + half[0], y, half[2]]), half, rng.normal(0.0, 0.02)))
            x += 2.0 * half[0] + (rng.uniform(0.0, 5.0) if rng.random() < 0.4 else 0.0)
    return boxes


def _parked(half_width: float, rng: Rng) -> list[_Box]:
    boxes = []
    for _ in range(rng.integers(4, 25)):
        half = np.array([rng.uniform(0.3, 2.2), rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.0)])
        y = rng.choice((-1.0, 1.0)) * rng.uniform(0.7, 0.95) * half_width
        boxes.append(_Box(np.array([rng.uniform(-50.0, 50.0), y, half[2]]), half, rng.normal(0.0, 0.1)))
    return boxes


def _height_field(builder: MeshBuilder, rng: Rng) -> Vector:
    """Hills with boxes on them, seen from near the ground up to the height of a drone."""
    ground = _add_ground(builder, rng, relief=rng.uniform(2.0, 14.0))
    boxes = []
    for _ in range(rng.integers(0, 40)):
        half = np.exp(rng.uniform(math.log(0.3), math.log(2.5), 3))
        x, y = rng.uniform(-35.0, 35.0, 2)
        boxes.append(_Box(np.array([x, y, ground(x, y) + 0.6 * half[2]]), half, rng.uniform(0.0, math.pi)))
        _add_solid(builder, boxes[-1], rng.uniform(1.0, 4.0), rng)
    viewpoints = _free_viewpoints(np.array([-25.0, -25.0, 0.0]), np.array([25.0, 25.0, 0.0]), [], rng)
    viewpoints[:, 2] = [ground(x, y) + math.exp(rng.uniform(0.4, 2.5)) for x, y in viewpoints[:, :2]]
    return _outside(viewpoints, boxes)


def _add_ground(builder: MeshBuilder, rng: Rng, relief: float) -> Callable[[float, float], float]:
    """A square of ground with hills ``relief`` metres high; returns its height at x, y."""
    cells = 96 if relief > 0.0 else 2
    axis = np.linspace(-_GROUND, _GROUND, cells + 1)
    x, y = np.meshgrid(axis, axis)
    hills = cv2.resize(fractal(rng, 64, 0.4), (cells + 1, cells + 1), interpolation=cv2.INTER_AREA)
    heights = np.asarray(relief * hills, dtype=np.float64)
    builder.add_grid(np.stack([x, y, heights], axis=-1), rng.uniform(3.0, 12.0), builder.layer())
    step = 2.0 * _GROUND / cells

    def height(east: float, north: float) -> float:
        column, row = int((east + _GROUND) / step), int((north + _GROUND) / step)
        return float(heights[row : row + 2, column : column + 2].max())

    return height


def _free_viewpoints(low: Vector, high: Vector, boxes: Sequence[_Box], rng: Rng) -> Vector:
    """Viewpoints (N, 5) in a block of space, clear of the boxes, in all directions."""
    count = 4 * _VIEWPOINTS
    positions = low + (np.maximum(high, low) - low) * rng.random((count, 3))
    headings = rng.uniform(-math.pi, math.pi, count)
    return _outside(np.column_stack([positions, headings, np.zeros(count)]), boxes)


def _outside(viewpoints: Vector, boxes: Sequence[_Box]) -> Vector:
    distance = np.full(len(viewpoints), np.inf)
    for box in boxes:
        distance = np.minimum(distance, box.distance(viewpoints[:, :3]))
    # The clearest, so that even a crowded scene has some.
    order = np.argsort(-np.minimum(distance, _CLEARANCE), kind="stable")
    return viewpoints[order[:_VIEWPOINTS]]


KINDS: Mapping[str, Callable[[MeshBuilder, Rng], Vector]] = MappingProxyType(
    {"room": _room, "planes": _planes, "boxes": _boxes, "street": _street, "height_field": _height_field}
)

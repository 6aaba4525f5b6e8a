"""Random scenes textured with photographs: rooms, free planes, boxes, streets, height fields.

Units are metres, z is up, so that camera motions have the same scale as in scenes from files.
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
_ROUND = 0.35  # fraction of solids that are round
_CLEARANCE = 0.5  # minimum distance of a viewpoint from all boxes, metres
_GROUND = 60.0  # half the side length of the ground of outdoor scenes, metres


@dataclass(frozen=True, eq=False)
class _Box:
    """A solid box: centre (3,) and half side lengths (3,), metres, and rotation about z, radians."""

    centre: Vector
    half: Vector
    yaw: float

    def distance(self, points: Vector) -> Vector:
        """Return the distances (N,) of points (N, 3), metres; 0 inside."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        outside = np.abs((points - self.centre) @ turn) - self.half
        return np.asarray(np.linalg.norm(np.maximum(outside, 0.0), axis=1))


def procedural_scene(kind: str, photographs: Sequence[Picture], rng: Rng) -> Scene:
    """Create a random scene.

    Args:
        kind: a key of ``KINDS``.
        photographs: (H, W, 3) uint8 RGB; textures of the scene and of distractors.
        rng: random generator.

    Raises:
        ConfigurationError: the kind is unknown.
        DataError: there is no photograph.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"unknown procedural scene {kind!r}; accepted: {', '.join(KINDS)}")
    if not photographs:
        raise DataError("a procedural scene needs at least one photograph")
    builder = MeshBuilder(len(photographs), rng)
    viewpoints = KINDS[kind](builder, rng)
    mesh = builder.mesh(texture_stack(photographs, TEXTURE_SIZE))
    return Scene(kind, mesh, viewpoints, tuple(range(len(photographs))))


def build_room(builder: MeshBuilder, rng: Rng) -> Vector:
    """Build a furnished room with pictures on its walls; return viewpoints (N, 5)."""
    half = np.array([rng.uniform(1.8, 6.0), rng.uniform(1.8, 6.0), rng.uniform(1.15, 1.9)])
    middle = np.array([0.0, 0.0, half[2]])
    add_walls(builder, middle, half, rng)
    boxes = []
    for _ in range(rng.integers(3, 16)):
        # Furniture stands on the floor, more often near the walls than in the middle.
        size = np.array([rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.8), rng.uniform(0.1, 0.9)])
        position = half[:2] * np.sign(rng.uniform(-1.0, 1.0, 2)) * np.sqrt(rng.random(2))
        boxes.append(_Box(np.array([*position, size[2]]), size, rng.uniform(0.0, math.pi)))
    for box in boxes:
        _add_solid(builder, box, rng.uniform(0.5, 2.0), rng)
    for _ in range(rng.integers(0, 10)):
        add_picture(builder, middle, half, rng)
    low, high = middle - half + 0.5, middle + half - 0.5
    low[2] = 0.6
    return _free_viewpoints(low, high, boxes, rng)


def add_walls(builder: MeshBuilder, middle: Vector, half: Vector, rng: Rng) -> None:
    """Add walls, floor and ceiling of a room of centre ``middle`` and half side lengths ``half``, metres."""
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
    """Add the box, or a round body that fits into it; ``metres`` per texture."""
    if rng.random() < _ROUND:
        builder.add_blob(box.centre, box.half, builder.layer())
    else:
        builder.add_box(box.centre, box.half, box.yaw, metres)


def add_picture(builder: MeshBuilder, middle: Vector, half: Vector, rng: Rng) -> None:
    """Add a picture to a wall of the room; see ``add_walls``."""
    axis = int(rng.integers(2))
    other = 1 - axis
    side = rng.choice((-1.0, 1.0))
    centre = middle + half * np.array([*rng.uniform(-0.8, 0.8, 2), rng.uniform(-0.4, 0.7)])
    centre[axis] = middle[axis] + side * (half[axis] - 0.015)
    right = np.zeros(3)
    right[other] = rng.uniform(0.15, 0.9)
    builder.add_rectangle(centre, right, (0.0, 0.0, -rng.uniform(0.15, 0.6)), (1.0, 1.0), builder.layer())


def build_planes(builder: MeshBuilder, rng: Rng) -> Vector:
    """Build rectangles around the viewpoints, in most cases above ground; return viewpoints (N, 5)."""
    if rng.random() < 0.6:
        _add_ground(builder, rng, relief=0.0)
    for _ in range(rng.integers(15, 50)):
        bearing, distance = rng.uniform(-math.pi, math.pi), rng.uniform(2.5, 15.0)
        centre = distance * np.array([math.cos(bearing), math.sin(bearing), 0.0])
        centre[2] = 1.5 + 0.25 * distance * rng.standard_normal()
        half = 0.35 * distance * rng.uniform(0.4, 1.6, 2)
        # Rectangles approximately face the middle of the scene and are approximately upright.
        away = centre / np.linalg.norm(centre) + 0.6 * rng.standard_normal(3)
        away /= np.linalg.norm(away)
        upright = np.array([0.0, 0.0, 1.0]) + 0.25 * rng.standard_normal(3)
        right = np.cross(away, upright)
        right /= np.linalg.norm(right)
        down = np.cross(away, right)
        builder.add_rectangle(centre, half[0] * right, half[1] * down, (1.0, 1.0), builder.layer())
    if rng.random() < 0.5:
        add_backdrop(builder, rng)
    return _free_viewpoints(np.array([-1.0, -1.0, 0.8]), np.array([1.0, 1.0, 2.2]), [], rng)


def add_backdrop(builder: MeshBuilder, rng: Rng) -> None:
    """Add four large walls as the background of a scene."""
    distance, height = rng.uniform(16.0, 30.0), rng.uniform(4.0, 15.0)
    for quarter in range(4):
        cos, sin = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)
        right = distance * np.array([sin, -cos, 0.0])
        repeat = np.array([2.0, 2.0 * height / distance]) * rng.uniform(1.0, 2.5)
        centre = (distance * cos, distance * sin, height - 1.0)
        builder.add_rectangle(centre, right, (0.0, 0.0, -height), repeat, builder.layer())


def build_boxes(builder: MeshBuilder, rng: Rng) -> Vector:
    """Build boxes of all sizes on flat ground; return viewpoints (N, 5)."""
    _add_ground(builder, rng, relief=0.0)
    boxes = []
    for _ in range(rng.integers(25, 70)):
        half = np.exp(rng.uniform(math.log(0.2), math.log(3.0), 3))
        bearing, distance = rng.uniform(-math.pi, math.pi), rng.uniform(3.0, 30.0)
        centre = np.array([distance * math.cos(bearing), distance * math.sin(bearing), half[2]])
        boxes.append(_Box(centre, half, rng.uniform(0.0, math.pi)))
        _add_solid(builder, boxes[-1], rng.uniform(1.0, 4.0), rng)
    return _free_viewpoints(np.array([-12.0, -12.0, 0.7]), np.array([12.0, 12.0, 2.5]), boxes, rng)


def build_street(builder: MeshBuilder, rng: Rng) -> Vector:
    """Build a road between houses with parked vehicles; return viewpoints (N, 5), mostly along the road."""
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
    boxes = houses(half_width, rng)
    for _ in range(rng.integers(4, 25)):
        half = np.array([rng.uniform(0.3, 2.2), rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.0)])
        y = rng.choice((-1.0, 1.0)) * rng.uniform(0.7, 0.95) * half_width
        boxes.append(_Box(np.array([rng.uniform(-50.0, 50.0), y, half[2]]), half, rng.normal(0.0, 0.1)))
    for box in boxes:
        builder.add_box(box.centre, box.half, box.yaw, rng.uniform(2.0, 7.0) if box.half[2] > 1.5 else 4.0)
    low = np.array([-40.0, -0.5 * half_width, 1.2])
    viewpoints = _free_viewpoints(low, np.array([40.0, 0.5 * half_width, 2.2]), boxes, rng)
    along = np.where(rng.random(len(viewpoints)) < 0.5, 0.0, math.pi) + rng.normal(0.0, 0.2, len(viewpoints))
    viewpoints[:, 3] = np.where(rng.random(len(viewpoints)) < 0.8, along, viewpoints[:, 3])
    return viewpoints


def houses(half_width: float, rng: Rng) -> list[_Box]:
    """Draw houses on both sides of a street, at least ``half_width`` metres from its centre line."""
    boxes = []
    for side in (-1.0, 1.0):
        x = -_GROUND
        while x < _GROUND:
            half = np.array([rng.uniform(2.0, 7.0), rng.uniform(2.0, 5.0), rng.uniform(1.5, 7.0)])
            y = side * (half_width + half[1] + rng.uniform(0.0, 2.0))
            boxes.append(_Box(np.array([x + half[0], y, half[2]]), half, rng.normal(0.0, 0.02)))
            x += 2.0 * half[0] + (rng.uniform(0.0, 5.0) if rng.random() < 0.4 else 0.0)
    return boxes


def build_height_field(builder: MeshBuilder, rng: Rng) -> Vector:
    """Build hills with boxes; return viewpoints (N, 5) from 1.5 m to 12 m above ground."""
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
    """Add square ground with hills up to ``relief`` metres; return a function of its height at (x, y)."""
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
    """Draw viewpoints (N, 5) of any heading between the corners ``low`` and ``high`` outside of boxes."""
    count = 4 * _VIEWPOINTS
    positions = low + (np.maximum(high, low) - low) * rng.random((count, 3))
    headings = rng.uniform(-math.pi, math.pi, count)
    return _outside(np.column_stack([positions, headings, np.zeros(count)]), boxes)


def _outside(viewpoints: Vector, boxes: Sequence[_Box]) -> Vector:
    distance = np.full(len(viewpoints), np.inf)
    for box in boxes:
        distance = np.minimum(distance, box.distance(viewpoints[:, :3]))
    # Keep those with the largest distance (up to the clearance), so that crowded scenes have viewpoints, too.
    order = np.argsort(-np.minimum(distance, _CLEARANCE), kind="stable")
    return viewpoints[order[:_VIEWPOINTS]]


KINDS: Mapping[str, Callable[[MeshBuilder, Rng], Vector]] = MappingProxyType(
    {
        "room": build_room,
        "planes": build_planes,
        "boxes": build_boxes,
        "street": build_street,
        "height_field": build_height_field,
    }
)

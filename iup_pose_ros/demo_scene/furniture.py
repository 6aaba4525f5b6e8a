"""Furniture of the demo room: surfaces in the room's frame (x east, y north, z up, metres)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from iup_pose_ros.demo_scene.materials import (
    Material,
    bricks,
    lawn,
    photographs,
    plaster,
    resized,
    tinted,
    wood,
)
from iup_pose_ros.demo_scene.surfaces import Surface, box, framed, hung, panel, plain
from iup_pose_ros.types import Picture

DARK_WOOD, BLACK = (58, 40, 28), (28, 28, 30)
_BOOK_COLOURS = (
    (122, 38, 34),
    (34, 58, 92),
    (52, 84, 60),
    (176, 140, 74),
    (88, 60, 44),
    (206, 196, 176),
    (60, 62, 70),
)


def table() -> list[Surface]:
    """Build a table with books, a sheet of paper, a tray of coins, a box and two chairs."""
    photos, top = photographs(), 0.74
    surfaces = box((3.4, 2.6, top - 0.025), (1.7, 0.85, 0.05), wood(), bottom=True)
    for x in (2.62, 4.18):
        for y in (2.24, 2.96):
            surfaces += box((x, y, (top - 0.05) / 2), (0.07, 0.07, top - 0.05), plain(DARK_WOOD))
    covers = ((150, 60, 40), (40, 84, 110), (190, 160, 80), (60, 90, 60))
    for level, (colour, yaw) in enumerate(zip(covers, (8.0, -6.0, 14.0, 3.0), strict=True)):
        paper, cloth = plain((230, 224, 208)), plain(colour)
        cover = [cloth, paper, paper, cloth, photos["text"] if level == 3 else cloth]
        surfaces += box((2.95, 2.75, top + 0.02 + 0.04 * level), (0.34, 0.24, 0.04), cover, yaw)
    surfaces.append(panel((3.35, 2.42, top + 0.003), (0, 0, 1), (0.42, 0.21), photos["page"], up=(0.2, 1, 0)))
    tray = [plain(DARK_WOOD)] * 4
    surfaces += box((3.95, 2.5, top + 0.015), (0.42, 0.33, 0.03), [*tray, photos["coins"]], -12.0)
    crate = [photos[name] for name in ("coffee", "cat", "rocket", "astronaut", "retina")]
    surfaces += box((3.62, 2.82, top + 0.11), (0.22, 0.22, 0.22), crate, 25.0)
    for x, y, yaw in ((2.95, 1.75, 10.0), (3.9, 3.45, 175.0)):
        surfaces += chair(x, y, yaw)
    return surfaces


def chair(x: float, y: float, yaw: float) -> list[Surface]:
    """Build a chair that faces +y if ``yaw``, in degrees, is zero."""
    angle = math.radians(yaw)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def part(along: float, across: float, z: float, size: tuple[float, float, float]) -> list[Surface]:
        offset = turn @ (along, across)
        return box((x + offset[0], y + offset[1], z), size, wood(), yaw, bottom=True)

    surfaces = part(0.0, 0.0, 0.44, (0.42, 0.42, 0.04)) + part(0.0, -0.2, 0.75, (0.42, 0.03, 0.3))
    for along in (-0.18, 0.18):
        surfaces += part(along, -0.19, 0.45, (0.04, 0.04, 0.9)) + part(along, 0.19, 0.21, (0.04, 0.04, 0.42))
    return surfaces


def plinth(position: tuple[float, float], height: float, names: Sequence[str]) -> list[Surface]:
    """Build a white plinth with a cube on it that shows five photographs."""
    photos = photographs()
    stand = box((*position, height / 2), (0.46, 0.46, height), plaster((214, 212, 206), (248, 246, 242)))
    cube = [resized(photos[name], 120, 120) for name in names]
    return stand + box((*position, height + 0.17), (0.34, 0.34, 0.34), cube, 30.0)


def pillar(room_height: float) -> list[Surface]:
    """Build a brick pillar with two posters, from the floor to the ceiling."""
    photos, x, y = photographs(), 5.2, 3.75
    surfaces = box((x, y, room_height / 2), (0.42, 0.42, room_height), bricks())
    surfaces += hung(framed(photos["camera"], 0.38, BLACK, 0.02), (x, y - 0.21, 1.55), (0.0, -1.0, 0.0), 0.38)
    surfaces += hung(framed(photos["rocket"], 0.38, BLACK, 0.02), (x - 0.21, y, 1.45), (-1.0, 0.0, 0.0), 0.38)
    return surfaces


def shelf(rng: np.random.Generator) -> list[Surface]:
    """Build a bookcase with four rows of books at the south wall."""
    x, y, width, depth, height = 4.9, 0.17, 1.1, 0.32, 2.0
    surfaces: list[Surface] = []
    for side in (-1, 1):
        surfaces += box((x + side * (width / 2 - 0.015), y, height / 2), (0.03, depth, height), wood())
    for level in range(5):
        z = 0.08 + level * (height - 0.1) / 4
        surfaces += box((x, y, z), (width - 0.06, depth, 0.03), wood(), bottom=True)
        if level < 4:
            row = books(rng, (width - 0.06, 0.43))
            surfaces.append(panel((x, y + 0.08, z + 0.23), (0.0, 1.0, 0.0), (width - 0.06, 0.43), row))
    return surfaces


def books(rng: np.random.Generator, size: tuple[float, float]) -> Picture:
    """Draw a row of book spines of ``size`` (width, height) metres, cut from photographs."""
    photos = photographs()
    sources = [
        photos[name] for name in ("astronaut", "coffee", "cat", "rocket", "motorcycle", "hubble_deep_field")
    ]
    columns, rows = (round(extent * 240) for extent in size)
    picture = np.full((rows, columns, 3), (34, 26, 20), dtype=np.uint8)
    left = 2
    while left < columns - 16:
        width, height = int(rng.integers(6, 15)), int(rng.integers(60, 92))
        source = sources[int(rng.integers(len(sources)))]
        start = int(rng.integers(source.shape[1] - 40))
        spine = resized(source[:, start : start + 40], width, height).astype(np.float32)
        colour = np.array(_BOOK_COLOURS[int(rng.integers(len(_BOOK_COLOURS)))])
        picture[rows - height :, left : left + width] = 0.4 * spine + 0.6 * colour
        picture[rows - height :, left + width - 1] //= 3
        left += width + int(rng.random() < 0.1) * 8
    return picture


def planter(position: tuple[float, float]) -> list[Surface]:
    """Build a clay pot with grass and upright leaves."""
    clay = plaster((132, 70, 44), (190, 112, 76))
    surfaces = box((*position, 0.2), (0.5, 0.5, 0.4), [clay, clay, clay, clay, lawn()])
    for yaw in (20.0, 80.0, 140.0):
        surfaces += box((*position, 0.62), (0.40, 0.05, 0.46), lawn(), yaw)
    return surfaces


def bench() -> list[Surface]:
    """Build a low bench with a cushion at the west wall."""
    cushion = Material(
        tinted(photographs()["immunohistochemistry"], (30, 52, 66), (150, 176, 184)), (0.5, 0.5)
    )
    return [
        *box((0.35, 2.55, 0.36), (0.42, 1.8, 0.08), wood(), bottom=True),
        *box((0.35, 2.55, 0.43), (0.40, 1.7, 0.06), cushion),
        *box((0.35, 1.75, 0.16), (0.36, 0.06, 0.32), plain(DARK_WOOD)),
        *box((0.35, 3.35, 0.16), (0.36, 0.06, 0.32), plain(DARK_WOOD)),
    ]

"""The demo room, a small gallery with a brick wall, a table and a window. x east, y north, z up, metres.

Its pictures and materials are the photographs of scikit-image; its light is baked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from iup_pose_ros.demo_scene.lighting import Lamp, lit
from iup_pose_ros.demo_scene.materials import (
    Material,
    bricks,
    lawn,
    photographs,
    planks,
    plaster,
    resized,
    tinted,
    wood,
)
from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane
from iup_pose_ros.demo_scene.surfaces import Surface, box, framed, hung, panel, plain
from iup_pose_ros.demo_scene.threads import one_thread_per_operation
from iup_pose_ros.types import Picture

LENGTH, DEPTH, HEIGHT = 7.0, 5.4, 2.8  # metres along x, y and z; a corner is the origin

_AMBIENT = (0.60, 0.585, 0.57)
_LAMPS = (
    Lamp((2.0, 2.7, 2.70), (1.3, 0.3), (3.7, 3.4, 3.0)),
    Lamp((5.0, 2.7, 2.70), (1.3, 0.3), (3.7, 3.4, 3.0)),
)
_DARK_WOOD, _BLACK, _GOLD = (58, 40, 28), (28, 28, 30), (150, 118, 60)
_CLOTHS = (
    (122, 38, 34),
    (34, 58, 92),
    (52, 84, 60),
    (176, 140, 74),
    (88, 60, 44),
    (206, 196, 176),
    (60, 62, 70),
)
_SOUTH, _NORTH = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
_WEST, _EAST = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)


def build_room(seed: int = 0) -> PlaneScene:
    """The room as a scene; ``seed`` lays the floor and fills the shelf.

    Raises:
        DataError: the photographs of scikit-image are not there.
    """
    rng = np.random.default_rng(seed)
    surfaces = [
        *_shell(rng),
        *_window(),
        *_pictures(),
        *_table(),
        *_plinth((1.45, 4.15), 0.95, ("cat", "coffee", "astronaut", "camera", "coins")),
        *_plinth((5.75, 1.1), 0.75, ("retina", "cat", "motorcycle", "hubble_deep_field", "moon")),
        *_pillar(),
        *_shelf(rng),
        *_planter((0.55, 0.6)),
        *_planter((6.45, 4.9)),
        *_bench(),
        *_lamps(),
    ]
    with one_thread_per_operation():
        pictures = lit(surfaces, _LAMPS, _AMBIENT)
    return PlaneScene.from_planes(
        [
            TexturedPlane(surface.centre, surface.half_u, surface.half_v, picture, one_sided=True)
            for surface, picture in zip(surfaces, pictures, strict=True)
        ]
    )


def _shell(rng: np.random.Generator) -> list[Surface]:
    """Walls, floor and ceiling; the east wall leaves the window open."""
    cream = plaster((176, 166, 150), (238, 230, 214))
    blue = plaster((92, 112, 126), (150, 170, 182))
    white = plaster((206, 204, 198), (246, 244, 240))
    middle = (LENGTH / 2, DEPTH / 2, HEIGHT / 2)
    surfaces = [
        panel((middle[0], DEPTH, middle[2]), _SOUTH, (LENGTH, HEIGHT), bricks()),
        panel((middle[0], 0.0, middle[2]), _NORTH, (LENGTH, HEIGHT), cream),
        panel((0.0, middle[1], middle[2]), _EAST, (DEPTH, HEIGHT), blue),
        panel((*middle[:2], 0.0), (0, 0, 1), (LENGTH, DEPTH), planks((LENGTH, DEPTH), rng), up=_NORTH),
        panel((*middle[:2], HEIGHT), (0, 0, -1), (LENGTH, DEPTH), white, up=_NORTH),
    ]
    # The window reaches from y = 1.9 to 4.1 and z = 0.9 to 2.2.
    for y, width, z, height in (
        (0.95, 1.9, 1.4, 2.8),
        (4.75, 1.3, 1.4, 2.8),
        (3.0, 2.2, 0.45, 0.9),
        (3.0, 2.2, 2.5, 0.6),
    ):
        surfaces.append(panel((LENGTH, y, z), _WEST, (width, height), cream))
    skirting = plain((226, 222, 214))
    surfaces += box((middle[0], 0.01, 0.05), (LENGTH, 0.02, 0.10), skirting)
    surfaces += box((middle[0], DEPTH - 0.01, 0.05), (LENGTH, 0.02, 0.10), skirting)
    surfaces += box((0.01, middle[1], 0.05), (0.02, DEPTH, 0.10), skirting)
    surfaces += box((LENGTH - 0.01, middle[1], 0.05), (0.02, DEPTH, 0.10), skirting)
    for x in (1.2, 3.5, 5.8):
        surfaces += box((x, middle[1], HEIGHT - 0.08), (0.14, DEPTH, 0.16), wood(), bottom=True)
    rug = Material(_rug(), (2.6, 1.9))
    surfaces.append(panel((3.4, 2.6, 0.004), (0, 0, 1), (2.6, 1.9), rug, up=_NORTH))
    return surfaces


def _rug() -> Picture:
    """A woven pattern with a dark border."""
    weave = photographs()["immunohistochemistry"]
    centre = np.concatenate([weave, weave[:, ::-1]], axis=1)
    rug = np.full((456, 624, 3), (92, 34, 30), dtype=np.uint8)
    rug[24:-24, 24:-24] = (196, 170, 120)
    rug[36:-36, 36:-36] = tinted(resized(centre, 552, 384), (70, 26, 30), (216, 186, 150))
    return rug


def _window() -> list[Surface]:
    """The launch site at dusk, 2.5 m behind an opening with a frame, a sill and a cross."""
    outside = panel((LENGTH + 2.5, 3.0, 1.9), _WEST, (6.4, 4.27), photographs()["rocket"])
    glowing = Surface(outside.centre, outside.half_u, outside.half_v, outside.picture, glows=True)
    frame = plain((240, 238, 232))
    surfaces = [glowing]
    for y in (1.9, 3.0, 4.1):
        surfaces += box((LENGTH + 0.02, y, 1.55), (0.10, 0.07, 1.30), frame)
    for z in (0.9, 2.2):
        surfaces += box((LENGTH + 0.02, 3.0, z), (0.10, 2.27, 0.07), frame, bottom=True)
    surfaces += box((LENGTH - 0.08, 3.0, 0.88), (0.26, 2.4, 0.04), wood(), bottom=True)
    return surfaces


def _pictures() -> list[Surface]:
    """Framed photographs on the walls."""
    photos = photographs()
    wall = {"north": (DEPTH, _SOUTH), "south": (0.0, _NORTH), "west": (0.0, _EAST), "east": (LENGTH, _WEST)}
    hangings: Sequence[tuple[str, str, float, float, float, tuple[int, int, int]]] = (
        ("north", "astronaut", 2.55, 1.55, 1.10, _BLACK),
        ("north", "coffee", 4.0, 1.75, 1.05, _DARK_WOOD),
        ("north", "moon", 4.0, 0.95, 0.50, _BLACK),
        ("north", "motorcycle", 5.45, 1.5, 1.25, _GOLD),
        ("north", "camera", 0.75, 1.6, 0.65, _BLACK),
        ("south", "hubble_deep_field", 3.1, 1.55, 1.65, _BLACK),
        ("south", "retina", 1.65, 1.75, 0.72, _GOLD),
        ("south", "coins", 1.65, 0.95, 0.72, _DARK_WOOD),
        ("south", "cat", 0.8, 1.5, 0.75, _DARK_WOOD),
        ("west", "text", 2.55, 1.55, 2.2, (190, 192, 196)),
        ("west", "immunohistochemistry", 4.55, 1.55, 0.95, _BLACK),
        ("west", "page", 0.75, 1.6, 0.9, _DARK_WOOD),
        ("east", "coins", 1.0, 1.6, 0.9, _BLACK),
        ("east", "astronaut", 4.75, 1.55, 0.8, _GOLD),
    )
    surfaces: list[Surface] = []
    for side, name, along, height, width, frame in hangings:
        across, normal = wall[side]
        centre = (along, across, height) if side in ("north", "south") else (across, along, height)
        surfaces += hung(framed(photos[name], width, frame), centre, normal, width)
    return surfaces


def _table() -> list[Surface]:
    """A table with books, a sheet of paper, a tray of coins and a box."""
    photos, top = photographs(), 0.74
    surfaces = box((3.4, 2.6, top - 0.025), (1.7, 0.85, 0.05), wood(), bottom=True)
    for x in (2.62, 4.18):
        for y in (2.24, 2.96):
            surfaces += box((x, y, (top - 0.05) / 2), (0.07, 0.07, top - 0.05), plain(_DARK_WOOD))
    covers = ((150, 60, 40), (40, 84, 110), (190, 160, 80), (60, 90, 60))
    for level, (colour, yaw) in enumerate(zip(covers, (8.0, -6.0, 14.0, 3.0), strict=True)):
        paper, cloth = plain((230, 224, 208)), plain(colour)
        cover = [cloth, paper, paper, cloth, photos["text"] if level == 3 else cloth]
        surfaces += box((2.95, 2.75, top + 0.02 + 0.04 * level), (0.34, 0.24, 0.04), cover, yaw)
    surfaces.append(panel((3.35, 2.42, top + 0.003), (0, 0, 1), (0.42, 0.21), photos["page"], up=(0.2, 1, 0)))
    tray = [plain(_DARK_WOOD)] * 4
    surfaces += box((3.95, 2.5, top + 0.015), (0.42, 0.33, 0.03), [*tray, photos["coins"]], -12.0)
    crate = [photos[name] for name in ("coffee", "cat", "rocket", "astronaut", "retina")]
    surfaces += box((3.62, 2.82, top + 0.11), (0.22, 0.22, 0.22), crate, 25.0)
    for x, y, yaw in ((2.95, 1.75, 10.0), (3.9, 3.45, 175.0)):
        surfaces += _chair(x, y, yaw)
    return surfaces


def _chair(x: float, y: float, yaw: float) -> list[Surface]:
    """A chair whose seat faces +y before the turn."""
    angle = math.radians(yaw)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def part(along: float, across: float, z: float, size: tuple[float, float, float]) -> list[Surface]:
        offset = turn @ (along, across)
        return box((x + offset[0], y + offset[1], z), size, wood(), yaw, bottom=True)

    surfaces = part(0.0, 0.0, 0.44, (0.42, 0.42, 0.04)) + part(0.0, -0.2, 0.75, (0.42, 0.03, 0.3))
    for along in (-0.18, 0.18):
        surfaces += part(along, -0.19, 0.45, (0.04, 0.04, 0.9)) + part(along, 0.19, 0.21, (0.04, 0.04, 0.42))
    return surfaces


def _plinth(position: tuple[float, float], height: float, names: Sequence[str]) -> list[Surface]:
    """A white plinth with a turned cube of photographs on it."""
    photos = photographs()
    stand = box((*position, height / 2), (0.46, 0.46, height), plaster((214, 212, 206), (248, 246, 242)))
    cube = [resized(photos[name], 120, 120) for name in names]
    return stand + box((*position, height + 0.17), (0.34, 0.34, 0.34), cube, 30.0)


def _pillar() -> list[Surface]:
    """A brick pillar with two posters."""
    photos, x, y = photographs(), 5.2, 3.75
    surfaces = box((x, y, HEIGHT / 2), (0.42, 0.42, HEIGHT), bricks())
    surfaces += hung(framed(photos["camera"], 0.38, _BLACK, 0.02), (x, y - 0.21, 1.55), _SOUTH, 0.38)
    surfaces += hung(framed(photos["rocket"], 0.38, _BLACK, 0.02), (x - 0.21, y, 1.45), _WEST, 0.38)
    return surfaces


def _shelf(rng: np.random.Generator) -> list[Surface]:
    """A bookcase of four boards at the south wall."""
    x, y, width, depth, height = 4.9, 0.17, 1.1, 0.32, 2.0
    surfaces: list[Surface] = []
    for side in (-1, 1):
        surfaces += box((x + side * (width / 2 - 0.015), y, height / 2), (0.03, depth, height), wood())
    for level in range(5):
        z = 0.08 + level * (height - 0.1) / 4
        surfaces += box((x, y, z), (width - 0.06, depth, 0.03), wood(), bottom=True)
        if level < 4:
            books = _books(rng, (width - 0.06, 0.43))
            surfaces.append(panel((x, y + 0.08, z + 0.23), _NORTH, (width - 0.06, 0.43), books))
    return surfaces


def _books(rng: np.random.Generator, size: tuple[float, float]) -> Picture:
    """The backs of a row of books, cut from photographs, before the dark of the shelf."""
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
        colour = np.array(_CLOTHS[int(rng.integers(len(_CLOTHS)))])
        picture[rows - height :, left : left + width] = 0.4 * spine + 0.6 * colour
        picture[rows - height :, left + width - 1] //= 3
        left += width + int(rng.random() < 0.1) * 8
    return picture


def _planter(position: tuple[float, float]) -> list[Surface]:
    """A clay pot with a bed of grass and upright leaves of it."""
    clay = plaster((132, 70, 44), (190, 112, 76))
    surfaces = box((*position, 0.2), (0.5, 0.5, 0.4), [clay, clay, clay, clay, lawn()])
    for yaw in (20.0, 80.0, 140.0):
        surfaces += box((*position, 0.62), (0.40, 0.05, 0.46), lawn(), yaw)
    return surfaces


def _bench() -> list[Surface]:
    """A low bench with a cushion at the west wall."""
    cushion = Material(
        tinted(photographs()["immunohistochemistry"], (30, 52, 66), (150, 176, 184)), (0.5, 0.5)
    )
    return [
        *box((0.35, 2.55, 0.36), (0.42, 1.8, 0.08), wood(), bottom=True),
        *box((0.35, 2.55, 0.43), (0.40, 1.7, 0.06), cushion),
        *box((0.35, 1.75, 0.16), (0.36, 0.06, 0.32), plain(_DARK_WOOD)),
        *box((0.35, 3.35, 0.16), (0.36, 0.06, 0.32), plain(_DARK_WOOD)),
    ]


def _lamps() -> list[Surface]:
    """The shining panels below the ceiling."""
    surfaces: list[Surface] = []
    for lamp in _LAMPS:
        x, y, z = lamp.centre
        case = box((x, y, z + 0.05), (lamp.size[0], lamp.size[1], 0.04), plain((60, 60, 62)), bottom=True)
        glass = panel((x, y, z + 0.028), (0, 0, -1), lamp.size, plain((255, 250, 236)), up=_NORTH)
        surfaces += [*case, Surface(glass.centre, glass.half_u, glass.half_v, glass.picture, glows=True)]
    return surfaces

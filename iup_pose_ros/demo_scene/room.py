"""The demo room: a small gallery with a brick wall, a table and a window. x east, y north, z up, metres.

Pictures and materials are the photographs of scikit-image; the lighting is baked into the textures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iup_pose_ros.demo_scene.furniture import (
    BLACK,
    DARK_WOOD,
    bench,
    pillar,
    planter,
    plinth,
    shelf,
    table,
)
from iup_pose_ros.demo_scene.lighting import Lamp, lit
from iup_pose_ros.demo_scene.materials import (
    Material,
    bricks,
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

LENGTH, DEPTH, HEIGHT = 7.0, 5.4, 2.8  # metres along x, y and z; the origin is a corner

_AMBIENT = (0.60, 0.585, 0.57)
_LAMPS = (
    Lamp((2.0, 2.7, 2.70), (1.3, 0.3), (3.7, 3.4, 3.0)),
    Lamp((5.0, 2.7, 2.70), (1.3, 0.3), (3.7, 3.4, 3.0)),
)
_GOLD = (150, 118, 60)
_SOUTH, _NORTH = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
_WEST, _EAST = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)


def build_room(seed: int = 0) -> PlaneScene:
    """Build the room as a scene.

    Args:
        seed: random seed of the floor and of the books.

    Raises:
        DataError: the photographs of scikit-image are not installed.
    """
    rng = np.random.default_rng(seed)
    surfaces = [
        *shell(rng),
        rug(),
        *window(),
        *hung_pictures(),
        *table(),
        *plinth((1.45, 4.15), 0.95, ("cat", "coffee", "astronaut", "camera", "coins")),
        *plinth((5.75, 1.1), 0.75, ("retina", "cat", "motorcycle", "hubble_deep_field", "moon")),
        *pillar(HEIGHT),
        *shelf(rng),
        *planter((0.55, 0.6)),
        *planter((6.45, 4.9)),
        *bench(),
        *lamps(),
    ]
    with one_thread_per_operation():
        pictures = lit(surfaces, _LAMPS, _AMBIENT)
    return PlaneScene.from_planes(
        [
            TexturedPlane(surface.centre, surface.half_u, surface.half_v, picture, one_sided=True)
            for surface, picture in zip(surfaces, pictures, strict=True)
        ]
    )


def shell(rng: np.random.Generator) -> list[Surface]:
    """Build walls, floor and ceiling; the east wall has an opening for the window."""
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
    # The window spans y = 1.9 to 4.1 and z = 0.9 to 2.2.
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
    return surfaces


def rug() -> Surface:
    """Build a woven rug with a dark border."""
    weave = photographs()["immunohistochemistry"]
    centre = np.concatenate([weave, weave[:, ::-1]], axis=1)
    pattern = np.full((456, 624, 3), (92, 34, 30), dtype=np.uint8)
    pattern[24:-24, 24:-24] = (196, 170, 120)
    pattern[36:-36, 36:-36] = tinted(resized(centre, 552, 384), (70, 26, 30), (216, 186, 150))
    return panel((3.4, 2.6, 0.004), (0, 0, 1), (2.6, 1.9), Material(pattern, (2.6, 1.9)), up=_NORTH)


def window() -> list[Surface]:
    """Build a window with frame, sill and mullion, and the photograph 2.5 m behind it."""
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


def hung_pictures() -> list[Surface]:
    """Build the framed photographs on the walls."""
    photos = photographs()
    wall = {"north": (DEPTH, _SOUTH), "south": (0.0, _NORTH), "west": (0.0, _EAST), "east": (LENGTH, _WEST)}
    hangings: Sequence[tuple[str, str, float, float, float, tuple[int, int, int]]] = (
        ("north", "astronaut", 2.55, 1.55, 1.10, BLACK),
        ("north", "coffee", 4.0, 1.75, 1.05, DARK_WOOD),
        ("north", "moon", 4.0, 0.95, 0.50, BLACK),
        ("north", "motorcycle", 5.45, 1.5, 1.25, _GOLD),
        ("north", "camera", 0.75, 1.6, 0.65, BLACK),
        ("south", "hubble_deep_field", 3.1, 1.55, 1.65, BLACK),
        ("south", "retina", 1.65, 1.75, 0.72, _GOLD),
        ("south", "coins", 1.65, 0.95, 0.72, DARK_WOOD),
        ("south", "cat", 0.8, 1.5, 0.75, DARK_WOOD),
        ("west", "text", 2.55, 1.55, 2.2, (190, 192, 196)),
        ("west", "immunohistochemistry", 4.55, 1.55, 0.95, BLACK),
        ("west", "page", 0.75, 1.6, 0.9, DARK_WOOD),
        ("east", "coins", 1.0, 1.6, 0.9, BLACK),
        ("east", "astronaut", 4.75, 1.55, 0.8, _GOLD),
    )
    surfaces: list[Surface] = []
    for side, name, along, height, width, frame in hangings:
        across, normal = wall[side]
        centre = (along, across, height) if side in ("north", "south") else (across, along, height)
        surfaces += hung(framed(photos[name], width, frame), centre, normal, width)
    return surfaces


def lamps() -> list[Surface]:
    """Build the luminous panels below the ceiling."""
    surfaces: list[Surface] = []
    for lamp in _LAMPS:
        x, y, z = lamp.centre
        case = box((x, y, z + 0.05), (lamp.size[0], lamp.size[1], 0.04), plain((60, 60, 62)), bottom=True)
        glass = panel((x, y, z + 0.028), (0, 0, -1), lamp.size, plain((255, 250, 236)), up=_NORTH)
        surfaces += [*case, Surface(glass.centre, glass.half_u, glass.half_v, glass.picture, glows=True)]
    return surfaces

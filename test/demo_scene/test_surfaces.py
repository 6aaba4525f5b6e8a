from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from iup_pose_ros.demo_scene import materials
from iup_pose_ros.demo_scene.lighting import Lamp, lit
from iup_pose_ros.demo_scene.materials import Material, photographs
from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
from iup_pose_ros.demo_scene.surfaces import Surface, box, covering, framed, hung, panel, plain
from iup_pose_ros.errors import DataError

WHITE = plain((200, 200, 200))


def corner_picture() -> np.ndarray:
    """Return a picture that is red at the top left, green at the top right and blue at the bottom left."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30, 0] = picture[:20, 30:, 1] = picture[20:, :30, 2] = 255
    return picture


@pytest.mark.parametrize("normal", [(0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0)])
def test_picture_on_a_wall_is_upright_and_readable_from_its_front(normal: tuple[int, int, int]) -> None:
    surface = panel((0, 0, 1), normal, (1.5, 1.0), corner_picture())
    front = np.array(normal, dtype=float)
    np.testing.assert_allclose(surface.normal, front)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(-front, [0, 0, 1]), [0, 0, -1], -front], axis=1)
    pose[:3, 3] = 2 * front + [0, 0, 1]
    scene = PlaneScene.from_planes(
        [TexturedPlane(surface.centre, surface.half_u, surface.half_v, surface.picture, one_sided=True)]
    )
    camera_matrix = torch.tensor([[[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]])
    image = render(scene, camera_matrix, torch.from_numpy(pose)[None], 64, 48).image[0]
    assert [int(image[:, y, x].argmax()) for y, x in ((18, 22), (18, 42), (30, 22))] == [0, 1, 2]


def test_one_sided_rectangle_is_invisible_from_behind() -> None:
    surface = panel((0, 0, 2), (0, 0, 1), (1, 1), WHITE, up=(0, 1, 0))
    scene = PlaneScene.from_planes(
        [TexturedPlane(surface.centre, surface.half_u, surface.half_v, surface.picture, one_sided=True)]
    )
    view = render(scene, torch.eye(3)[None], torch.eye(4)[None], 1, 1)
    assert int(view.plane) == -1


def test_faces_of_a_box_are_closed_and_point_outwards() -> None:
    centre = np.array([1.0, 2.0, 3.0])
    faces = box(centre, (0.4, 0.6, 0.8), WHITE, yaw=30.0, bottom=True)
    assert len(faces) == 6
    distances = sorted(float((face.centre - centre) @ face.normal) for face in faces)
    np.testing.assert_allclose(distances, [0.2, 0.2, 0.3, 0.3, 0.4, 0.4])
    np.testing.assert_allclose(sum(face.normal for face in faces), 0.0, atol=1e-12)


def test_tiles_of_a_material_have_no_seam() -> None:
    ramp = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], 3, axis=2)
    cover = covering(Material(np.repeat(ramp, 40, axis=0), (0.5, 0.5)), (1.6, 0.5))
    assert np.abs(np.diff(cover[..., 0].astype(int), axis=1)).max() < 8
    assert np.ptp(cover[0, :, 0]) > 240


def test_framed_picture_keeps_its_aspect_ratio_and_hangs_in_front_of_the_wall() -> None:
    picture = framed(photographs()["coffee"], 1.0, (20, 20, 20))
    surfaces = hung(picture, (0.0, 0.0, 1.5), (0, 1, 0), 1.0)
    front = max(surfaces, key=lambda surface: float(surface.centre[1]))
    assert front.centre[1] == pytest.approx(0.03)
    width, height = front.size
    assert width / height == pytest.approx(picture.shape[1] / picture.shape[0])
    inner = (width - 0.14) / (height - 0.14)
    assert inner == pytest.approx(1.5, abs=0.02)


def lit_floor(extra: list[Surface], lamps: list[Lamp]) -> np.ndarray:
    floor = panel((0, 0, 0), (0, 0, 1), (4, 4), WHITE, up=(0, 1, 0))
    return lit([floor, *extra], lamps, (0.3, 0.3, 0.3))[0].mean(axis=2)


def test_light_decreases_with_distance_and_boxes_cast_shadows() -> None:
    lamp = Lamp((0.0, 0.0, 2.5), (0.4, 0.4), (3.0, 3.0, 3.0))
    middle = slice(int(0.47 * 840), int(0.53 * 840))
    bare = lit_floor([], [lamp])
    assert bare[middle, middle].mean() > 1.1 * bare[:40, :40].mean()
    assert np.abs(bare - bare[::-1, ::-1]).max() < 2.0
    shadowed = lit_floor(box((0, 0, 1.2), (0.8, 0.8, 0.05), WHITE, bottom=True), [lamp])
    assert shadowed[middle, middle].mean() < 0.75 * bare[middle, middle].mean()
    assert shadowed[:40, :40].mean() == pytest.approx(bare[:40, :40].mean(), abs=2.0)


def test_corners_get_less_ambient_light_than_open_floor() -> None:
    wall = panel((2.0, 0, 1), (-1, 0, 0), (4, 2), WHITE)
    light = lit_floor([wall], [])
    columns = light.mean(axis=0)
    assert columns[-20:].mean() < 0.85 * columns[400:440].mean()


def test_emissive_surface_keeps_its_picture() -> None:
    picture = corner_picture()
    surface = panel((0, 0, 1), (0, 1, 0), (1, 1), picture)
    glowing = Surface(surface.centre, surface.half_u, surface.half_v, surface.picture, glows=True)
    np.testing.assert_array_equal(lit([glowing, surface], [], (0.1, 0.1, 0.1))[0], picture)


def test_missing_photographs_are_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    materials.photographs.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match="pip install scikit-image"):
        photographs()
    monkeypatch.undo()
    assert "astronaut" in photographs()

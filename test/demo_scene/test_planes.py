from __future__ import annotations

import numpy as np
import pytest
import torch

from iup_pose_ros.demo_scene.planes import PlaneScene, RenderedViews, TexturedPlane, render
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics

CAMERA = Intrinsics(fx=190.0, fy=200.0, cx=81.3, cy=58.6, width=160, height=120)
WHITE = np.full((4, 4, 3), 255, np.uint8)


def view(scene: PlaneScene, *poses: np.ndarray, supersampling: int = 2) -> RenderedViews:
    camera_matrix = torch.from_numpy(CAMERA.matrix).expand(len(poses), 3, 3)
    T_world_camera = torch.from_numpy(np.stack(poses))
    return render(scene, camera_matrix, T_world_camera, CAMERA.width, CAMERA.height, supersampling)


def pose(rotation_vector: list[float], position: list[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = so3.exp(np.array(rotation_vector))
    matrix[:3, 3] = position
    return matrix


def rays() -> np.ndarray:
    x, y = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    return CAMERA.rays(np.stack([x, y], axis=-1))


def test_corners_of_a_rectangle_are_projected_by_the_intrinsics() -> None:
    scene = PlaneScene.from_planes([TexturedPlane([0.2, -0.1, 2.0], [0.41, 0, 0], [0, 0.23, 0], WHITE)])
    coverage = view(scene, np.eye(4), supersampling=8).image[0, 0].double().numpy()
    corners = CAMERA.project(scene.corners[0].numpy())
    # The zeroth and first moments of the covered area are its extent and centre with subpixel accuracy.
    for axis, pixels in ((0, np.arange(CAMERA.width)), (1, np.arange(CAMERA.height))):
        profile = coverage.max(axis=axis)
        extent, centre = profile.sum(), (profile * pixels).sum() / profile.sum()
        expected = [corners[:, axis].min(), corners[:, axis].max()]
        np.testing.assert_allclose([centre - extent / 2, centre + extent / 2], expected, atol=0.1)


def test_depth_is_that_of_the_analytic_plane() -> None:
    half_u, half_v = np.array([4.0, 0.5, 1.0]), np.array([0.3, 4.0, -1.2])
    scene = PlaneScene.from_planes([TexturedPlane([0.1, 0.2, 3.0], half_u, half_v, WHITE)])
    T_world_camera = pose([0.1, -0.2, 0.3], [0.2, -0.1, 0.4])
    depth = view(scene, T_world_camera).depth[0].numpy()
    normal = np.cross(half_u, half_v)
    expected = (normal @ (np.array([0.1, 0.2, 3.0]) - T_world_camera[:3, 3])) / (
        rays() @ T_world_camera[:3, :3].T @ normal
    )
    np.testing.assert_allclose(depth, expected, rtol=1e-5)


def test_floor_that_extends_behind_the_camera_is_visible_only_below_the_horizon() -> None:
    scene = PlaneScene.from_planes([TexturedPlane([0, 1.5, 0], [50, 0, 0], [0, 0, 50], WHITE)])
    depth = view(scene, np.eye(4)).depth[0].numpy()
    with np.errstate(divide="ignore"):
        expected = 1.5 / rays()[..., 1]
    seen = (expected > 0) & (expected < 50)
    np.testing.assert_allclose(depth[seen], expected[seen], rtol=1e-4)
    assert np.isinf(depth[~seen]).all()


def test_nearer_rectangle_occludes_the_farther_one_in_any_order() -> None:
    near = TexturedPlane([0, 0, 1.0], [0.1, 0, 0], [0, 0.1, 0], WHITE)
    far = TexturedPlane([0, 0, 2.0], [3, 0, 0], [0, 3, 0], WHITE)
    centre = (0, round(CAMERA.cy), round(CAMERA.cx))
    assert view(PlaneScene.from_planes([near, far]), np.eye(4)).plane[centre] == 0
    views = view(PlaneScene.from_planes([far, near]), np.eye(4))
    assert views.plane[centre] == 1
    assert views.plane[0, 0, 0] == 0


def test_rectangles_behind_the_camera_or_edge_on_are_invisible() -> None:
    behind = TexturedPlane([0, 0, -2.0], [9, 0, 0], [0, 9, 0], WHITE)
    edge_on = TexturedPlane([0, 0, 2.0], [1, 0, 0], [0, 0, 1], WHITE)
    views = view(PlaneScene.from_planes([behind, edge_on]), np.eye(4))
    assert (views.plane == -1).all()
    assert torch.isinf(views.depth).all()
    assert (views.image == 0).all()


def test_texture_is_upright_and_not_mirrored() -> None:
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0, 0] = texture[0, 1, 1] = texture[1, 0, 2] = 255
    scene = PlaneScene.from_planes([TexturedPlane([0, 0, 2.0], [1, 0, 0], [0, 0.7, 0], texture)])
    image = view(scene, np.eye(4)).image[0]
    seen = {
        name: int(image[:, row, column].argmax())
        for name, row, column in (("red", 15, 15), ("green", 15, 145), ("blue", 105, 15))
    }
    assert seen == {"red": 0, "green": 1, "blue": 2}


def test_every_second_copy_of_a_repeated_texture_is_mirrored() -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 3, axis=2)
    scene = PlaneScene.from_planes([TexturedPlane([0, 0, 2.0], [0.8, 0, 0], [0, 1, 0], ramp, (2.0, 1.0))])
    row = view(scene, np.eye(4)).image[0, 0, 60]
    left, middle, right = (row[round(CAMERA.project(np.array([x, 0, 2.0]))[0])] for x in (-0.78, 0.0, 0.78))
    assert left < 0.1
    assert right < 0.1
    assert middle > 0.9


def test_distant_fine_pattern_is_filtered_to_its_mean() -> None:
    board = (np.indices((256, 256)).sum(0) % 2)[..., None] * np.full(3, 255)
    scene = PlaneScene.from_planes(
        [TexturedPlane([0, 0, 9.0], [9, 0, 0], [0, 9, 0], board.astype(np.uint8), (4, 4))]
    )
    poses = [pose([0, 0, 0], [shift, 0, 0]) for shift in (0.0, 0.011, 0.023)]
    images = view(scene, *poses).image
    np.testing.assert_allclose(images.numpy(), 0.5, atol=0.15)  # the texture is 0 or 1


def test_batch_equals_single_views_and_is_reproducible() -> None:
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    scene = PlaneScene.from_planes(
        [
            TexturedPlane([0, 0, 3.0], [2, 0.3, 0], [0, 1, 0.5], texture),
            TexturedPlane([0, 0, 2], [1, 0, 0], [0, 0, 1], texture),
        ]
    )
    poses = [pose([0.1 * i, 0.05, 0], [0.1 * i, -0.1, 0]) for i in range(3)]
    batch, again = view(scene, *poses), view(scene, *poses)
    assert torch.equal(batch.image, again.image)
    for i, single in enumerate(view(scene, p) for p in poses):
        torch.testing.assert_close(batch.image[i], single.image[0], atol=1e-5, rtol=0)
        assert torch.equal(batch.plane[i], single.plane[0])


@pytest.mark.parametrize(
    ("texture", "half_v", "message"),
    [
        (np.zeros((4, 4), np.uint8), [0, 1, 0], r"uint8 of shape \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), [0, 1, 0], "float32"),
        (WHITE, [2, 0, 0], "rectangle 0 has no area"),
    ],
)
def test_invalid_rectangles_are_rejected(texture: np.ndarray, half_v: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PlaneScene.from_planes([TexturedPlane([0, 0, 2.0], [1, 0, 0], half_v, texture)])


def test_scene_without_rectangles_is_rejected() -> None:
    with pytest.raises(DataError, match="at least one"):
        PlaneScene.from_planes([])

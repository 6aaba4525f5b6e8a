from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.training.synthetic.camera_motion import pose
from iup_pose_ros.training.synthetic.distractors import Distractor, distractor_mesh
from iup_pose_ros.training.synthetic.mesh import Mesh
from iup_pose_ros.training.synthetic.mesh_builder import MeshBuilder
from iup_pose_ros.training.synthetic.renderer import UNKNOWN, Renderer, RendererError
from iup_pose_ros.training.synthetic.sky import cube_directions

WIDTH, HEIGHT = 64, 48
K = np.array([[50.0, 0.0, 30.0], [0.0, 55.0, 25.5], [0.0, 0.0, 1.0]])
TEXTURE = np.full((1, 16, 16, 3), 200, np.uint8)
ORIGIN = np.eye(4)  # the optical frame of the camera is the world frame


def rectangle(centre, half_u, half_v, textures=TEXTURE) -> Mesh:
    builder = MeshBuilder(len(textures), np.random.default_rng(0))
    builder.add_rectangle(centre, half_u, half_v, (1.0, 1.0), 0)
    return builder.mesh(textures)


def render(renderer: Renderer, mesh: Mesh, T_world_camera=ORIGIN, **options):
    loaded = renderer.load(mesh)
    try:
        return renderer.render([loaded], K, T_world_camera, WIDTH, HEIGHT, **options)
    finally:
        loaded.release()


def rays() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)


@pytest.mark.parametrize("supersampling", [1, 2, 3, 4])
def test_depth_of_a_slanted_plane_is_exact_at_pixel_centres(renderer, supersampling):
    point, u, v = np.array([0.2, -0.1, 3.0]), np.array([9.0, 0.0, 4.0]), np.array([0.0, 9.0, -2.0])
    view = render(renderer, rectangle(point, u, v), supersampling=supersampling)
    normal = np.cross(u, v)
    expected = (normal @ point) / (rays() @ normal)
    np.testing.assert_allclose(view.depth, expected, rtol=1e-4)


def test_a_small_patch_is_projected_by_the_camera_matrix(renderer):
    centre = np.array([0.4, -0.3, 4.0])
    patch = rectangle(centre, (0.2, 0.0, 0.0), (0.0, 0.2, 0.0))
    weight = render(renderer, patch, supersampling=8).colour[..., 0].astype(float)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    projected = (K @ centre)[:2] / centre[2]
    np.testing.assert_allclose(centroid, projected, atol=0.15)


def test_a_texture_is_upright_and_not_mirrored(renderer):
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[0, :16, :16], picture[0, :16, 16:], picture[0, 16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    view = render(renderer, rectangle((0.0, 0.0, 2.0), (2.0, 0.0, 0.0), (0.0, 2.0, 0.0), picture))
    corners = [view.colour[10, 10], view.colour[10, 50], view.colour[40, 10]]
    assert [int(corner.argmax()) for corner in corners] == [0, 1, 2]


def test_the_nearer_of_two_surfaces_occludes_the_other(renderer):
    near, far = (rectangle((0.0, 0.0, z), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0)) for z in (1.5, 3.0))
    loaded = [renderer.load(mesh) for mesh in (near, far)]
    view = renderer.render(loaded, K, ORIGIN, WIDTH, HEIGHT)
    np.testing.assert_allclose(view.depth, 1.5, rtol=1e-4)


def test_frustum_culling_does_not_change_the_view(renderer):
    builder = MeshBuilder(1, np.random.default_rng(0))
    for i in range(3000):
        angle = 0.01 * i
        builder.add_rectangle(
            (9.0 * np.cos(angle), 9.0 * np.sin(angle), 0.1 * (i % 30)),
            (-np.sin(angle), np.cos(angle), 0.0),
            (0.0, 0.0, -0.2),
            (1.0, 1.0),
            0,
        )
    mesh = builder.mesh(TEXTURE)
    camera = pose(np.zeros(3), 0.7, 0.1, 0.2)
    culled = render(renderer, mesh, camera)
    everything = np.arange(len(mesh.chunk_first))
    visible = Mesh.visible_chunks
    Mesh.visible_chunks = lambda *_: everything  # type: ignore[method-assign]
    try:
        complete = render(renderer, mesh, camera)
    finally:
        Mesh.visible_chunks = visible  # type: ignore[method-assign]
    np.testing.assert_allclose(culled.depth, complete.depth, rtol=1e-4)
    assert np.isfinite(complete.depth).any()


def test_the_sky_is_sampled_in_the_direction_of_each_pixel_with_infinite_depth(renderer):
    faces = np.round(127.5 * (cube_directions(64) + 1.0)).astype(np.uint8)
    sky = renderer.load_sky(faces)
    T_world_camera = pose(np.array([3.0, -2.0, 1.0]), 0.8, 0.3, 0.1)
    view = renderer.render([], K, T_world_camera, WIDTH, HEIGHT, sky=sky)
    directions = rays() @ T_world_camera[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    assert np.isinf(view.depth).all()
    np.testing.assert_allclose(view.colour / 127.5 - 1.0, directions, atol=0.03)


def test_distractors_occlude_the_scene_and_have_no_depth(renderer):
    scene = rectangle((0.0, 0.0, 3.0), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0))
    loaded = renderer.load(scene)
    angles = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)
    outline = 0.4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distractor = Distractor(np.array([0.0, 0.0, 2.0]), np.eye(3), outline, 0.0, 0, 0.3)
    moving = renderer.load(distractor_mesh([distractor], scene), textures_of=loaded)
    view = renderer.render([loaded], K, ORIGIN, WIDTH, HEIGHT, distractors=moving)
    hidden = np.hypot(*(rays()[..., :2] * 2.0).transpose(2, 0, 1)) < 0.35
    assert (view.depth[hidden] == UNKNOWN).all()
    assert 0.02 < (view.depth == UNKNOWN).mean() < 0.2
    assert view.colour[hidden].mean() < view.colour[~hidden].mean()


def test_gain_brightens_the_image(renderer):
    mesh = rectangle((0.0, 0.0, 3.0), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0))
    dark, bright = (render(renderer, mesh, gain=gain).colour.mean() for gain in (0.3, 0.6))
    assert bright == pytest.approx(2.0 * dark, rel=0.02)


def test_several_renderers_are_independent(renderer):
    mesh = rectangle((0.0, 0.0, 3.0), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0))
    before = render(renderer, mesh)
    other = Renderer()
    loaded = other.load(rectangle((0.0, 0.0, 2.0), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0), TEXTURE // 2))
    np.testing.assert_array_equal(render(renderer, mesh).colour, before.colour)
    assert other.render([loaded], K, ORIGIN, WIDTH, HEIGHT).depth[0, 0] == pytest.approx(2.0, rel=1e-4)
    other.close()
    np.testing.assert_array_equal(render(renderer, mesh).depth, before.depth)


def test_missing_opengl_is_an_error_that_names_what_to_install(monkeypatch):
    moderngl = pytest.importorskip("moderngl")

    def fail(**_: object) -> None:
        raise RuntimeError("libEGL.so.1 not loaded")

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(RendererError, match=r"not loaded.*apt-get install libegl1 libgl1 libgl1-mesa-dri"):
        Renderer()

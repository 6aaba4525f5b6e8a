from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from iup_pose_ros.demo_scene.materials import photographs
from iup_pose_ros.training.data.cluster import Cluster
from iup_pose_ros.training.synthetic.camera_motion import REGIMES
from iup_pose_ros.training.synthetic.cameras import CameraConfig
from iup_pose_ros.training.synthetic.cluster_renderer import ClusterRenderer
from iup_pose_ros.training.synthetic.distractors import DistractorConfig
from iup_pose_ros.training.synthetic.free_space import Surroundings
from iup_pose_ros.training.synthetic.overlap import overlap_matrix
from iup_pose_ros.training.synthetic.procedural import KINDS, procedural_scene
from iup_pose_ros.training.synthetic.renderer import UNKNOWN, Renderer
from iup_pose_ros.training.synthetic.sky import cloudy_sky
from iup_pose_ros.training.synthetic.view_config import LoadedScene, ViewConfig

WIDTH, HEIGHT = 320, 256
PLAIN = ViewConfig(views=3, distractors=DistractorConfig(share=0.0), exposure=0.0, automatic=0.0)


def load(renderer: Renderer, kind: str, seed: int = 0) -> LoadedScene:
    rng = np.random.default_rng(seed)
    pictures = list(photographs().values())[:6]
    return LoadedScene.load(renderer, procedural_scene(kind, pictures, rng), cloudy_sky(rng))


def draw(renderer: Renderer, kind: str, config: ViewConfig, seed: int = 0) -> Cluster:
    loaded = load(renderer, kind, seed)
    try:
        return ClusterRenderer(renderer, config).render(loaded, WIDTH, HEIGHT, np.random.default_rng(seed))
    finally:
        loaded.release()


def only(regime: str, config: ViewConfig = PLAIN) -> ViewConfig:
    return dataclasses.replace(config, regimes={regime: REGIMES[regime]})


def warp_residuals(cluster: Cluster, first: int, second: int) -> np.ndarray:
    """Return the grey-level differences between two views at the same scene points."""
    depth = cluster.depth[first]
    y, x = np.nonzero(np.isfinite(depth) & (depth > 0.0))
    K = cluster.K[[first, second]]
    rays = np.stack([(x - K[0, 0, 2]) / K[0, 0, 0], (y - K[0, 1, 2]) / K[0, 1, 1], np.ones(len(x))], axis=1)
    T_1_0 = np.linalg.inv(cluster.T_world_camera[second]) @ cluster.T_world_camera[first]
    points = (rays * depth[y, x, None]) @ T_1_0[:3, :3].T + T_1_0[:3, 3]
    u, v = (K[1, i, i] * points[:, i] / points[:, 2] + K[1, i, 2] for i in range(2))
    inside = (points[:, 2] > 0.1) & (u > 1) & (v > 1) & (u < WIDTH - 2) & (v < HEIGHT - 2)
    u, v, points, y, x = u[inside], v[inside], points[inside], y[inside], x[inside]
    inverse = map_coordinates(1.0 / cluster.depth[second], (v, u), order=1)
    visible = np.abs(inverse * points[:, 2] - 1.0) < 0.02
    seen, own = cluster.images[second].astype(np.float64), cluster.images[first][y, x]
    differences = [map_coordinates(seen[..., c], (v, u), order=1) - own[:, c] for c in range(3)]
    return np.abs(differences).mean(axis=0)[visible]


@pytest.mark.parametrize("kind", list(KINDS))
def test_views_are_photometrically_consistent_with_depth_and_poses(renderer, kind):
    cluster = draw(renderer, kind, only("hand_held"))
    pairs = np.argwhere(cluster.valid)[:4]
    for first, second in pairs:
        residuals = warp_residuals(cluster, int(first), int(second))
        assert len(residuals) > 0.2 * WIDTH * HEIGHT
        assert np.median(residuals) < 3.0
        shifted = dataclasses.replace(cluster, images=np.roll(cluster.images, 3, axis=2))
        moved = np.stack([cluster.images[first], shifted.images[second]])
        wrong = dataclasses.replace(
            cluster,
            images=moved,
            depth=cluster.depth[[first, second]],
            K=cluster.K[[first, second]],
            T_world_camera=cluster.T_world_camera[[first, second]],
        )
        assert np.median(warp_residuals(wrong, 0, 1)) > 1.5 * np.median(residuals)


@pytest.mark.parametrize("regime", list(REGIMES))
def test_every_regime_yields_clusters_with_overlapping_pairs(renderer, regime):
    cluster = draw(renderer, "room", only(regime), seed=3)
    assert cluster.regime == regime
    assert cluster.valid.sum() >= 4
    overlap = np.minimum(cluster.overlap, cluster.overlap.T)[cluster.valid].min()
    assert overlap >= REGIMES[regime].overlap
    assert not np.diag(cluster.valid).any()
    assert 30 < cluster.images.mean() < 220
    assert cluster.depth.dtype == np.float32
    rotation = cluster.T_world_camera[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.eye(3)[None].repeat(3, 0), atol=1e-9
    )
    centres = cluster.T_world_camera[:, :3, 3]
    still = regime in ("rotation", "still")
    assert (np.abs(centres).max() == 0.0) == still


def test_distractors_move_and_have_no_ground_truth(renderer):
    busy = dataclasses.replace(only("still"), distractors=DistractorConfig(share=1.0, max_count=2))
    cluster = draw(renderer, "room", busy, seed=1)
    hidden = cluster.depth == UNKNOWN
    assert 0.0 < hidden.mean() < 0.35
    assert not np.array_equal(hidden[0], hidden[1])
    static = ~hidden[0] & ~hidden[1]
    difference = np.abs(cluster.images[0].astype(int) - cluster.images[1]).max(axis=-1)
    assert np.quantile(difference[static], 0.9) == 0
    assert np.median(difference[hidden[0] ^ hidden[1]]) > 5


def test_cameras_of_a_cluster_differ_only_if_configured(renderer):
    same = draw(renderer, "planes", dataclasses.replace(PLAIN, cameras=CameraConfig(mixed=0.0)))
    other = draw(renderer, "planes", dataclasses.replace(PLAIN, cameras=CameraConfig(mixed=1.0)))
    assert (same.K[0] == same.K).all()
    assert len(np.unique(other.K[:, 0, 0])) == len(other.K)


def test_fields_of_view_are_within_their_range():
    rng = np.random.default_rng(0)
    K = CameraConfig(mixed=1.0).draw(300, WIDTH, HEIGHT, rng)
    angle = 2.0 * np.degrees(np.arctan(0.5 * WIDTH / K[:, 0, 0]))
    assert angle.min() >= 40.0
    assert angle.max() <= 110.0
    assert np.ptp(angle) > 55.0
    assert np.abs((K[:, 0, 2] + 0.5) / WIDTH - 0.5).max() <= 0.06


def test_positions_behind_walls_are_not_free(renderer):
    rng = np.random.default_rng(0)
    loaded = load(renderer, "room")
    centre = loaded.scene.viewpoints[0, :3]

    def plain(K, T_world_camera, width, height):
        return renderer.render([loaded.mesh], K, T_world_camera, width, height, supersampling=1)

    surroundings = Surroundings.look(centre, plain)
    assert surroundings.is_free(centre)
    half = np.abs(loaded.scene.mesh.vertices["position"]).max(axis=0)
    for _ in range(50):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        ahead = surroundings.distances[(surroundings.directions @ direction).argmax()]
        assert not surroundings.is_free(centre + (ahead + 0.5) * direction)
        inside = centre + max(ahead - 1.0, 0.0) * direction
        if surroundings.is_free(inside):
            assert (np.abs(inside[:2]) < half[:2]).all()
    loaded.release()


def test_overlap_is_the_fraction_of_surfaces_visible_in_the_other_view():
    """Two cameras 4 m from a wall, the second displaced to the right by a quarter of the image width."""
    K = np.array([[160.0, 0.0, 159.5], [0.0, 160.0, 127.5], [0.0, 0.0, 1.0]])
    poses = np.stack([np.eye(4), np.eye(4), np.eye(4)])
    poses[1, 0, 3] = 0.25 * 4.0 * WIDTH / 160.0
    poses[2, 0, 3] = 50.0
    depth = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    hidden = depth.copy()
    hidden[:, : WIDTH // 2] = 1.0
    matrix = overlap_matrix([depth, depth, depth], np.stack([K] * 3), poses)
    np.testing.assert_allclose(matrix, [[1.0, 0.75, 0.0], [0.75, 1.0, 0.0], [0.0, 0.0, 1.0]], atol=0.03)
    matrix = overlap_matrix([depth, hidden], np.stack([K] * 2), np.stack([np.eye(4)] * 2))
    assert matrix[0, 1] == pytest.approx(0.5, abs=0.03)


def test_scenes_are_reproducible():
    pictures = list(photographs().values())[:3]
    for kind in KINDS:
        first, second = (procedural_scene(kind, pictures, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
        assert len(first.viewpoints) > 10
        assert math.isfinite(float(first.viewpoints.sum()))

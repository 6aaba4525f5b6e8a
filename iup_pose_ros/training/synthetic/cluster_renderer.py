"""Rendering of clusters: overlapping views of one scene with exact poses and depth."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError
from iup_pose_ros.training.data.cluster import Cluster, Matrices
from iup_pose_ros.training.synthetic.camera_motion import Motion, Placement, placed
from iup_pose_ros.training.synthetic.distractors import Distractor, distractor_mesh
from iup_pose_ros.training.synthetic.free_space import Surroundings
from iup_pose_ros.training.synthetic.overlap import overlap_matrix, project, sparse_points
from iup_pose_ros.training.synthetic.renderer import UNKNOWN, LoadedMesh, Renderer, View
from iup_pose_ros.training.synthetic.scenes import Scene
from iup_pose_ros.training.synthetic.view_config import LoadedScene, ViewConfig

_BRIGHTNESS = 0.42  # target mean of automatic exposure
_GAIN = (0.25, 10.0)
_SKY_GAIN = (0.5, 1.1)  # limited, because a sky is brighter than the scene
_HEADING_JITTER = math.pi / 16.0  # half the step between the headings of viewpoints, radians
_CANDIDATES = 4  # a vehicle uses the viewpoint with the largest depth among so many
_CLUSTER_ATTEMPTS = 30
_VIEW_ATTEMPTS = 8
_SHRINK = 0.75  # factor on the motion after a rejected view


class ClusterRenderer:
    """Renders random clusters.

    Args:
        renderer: OpenGL renderer.
        config: distribution of the clusters.
    """

    def __init__(self, renderer: Renderer, config: ViewConfig) -> None:
        self._renderer = renderer
        self._config = config

    def render(self, loaded: LoadedScene, width: int, height: int, rng: np.random.Generator) -> Cluster:
        """Render a cluster of images of width x height pixels.

        Raises:
            DataError: no cluster with overlapping views was found in the scene.
        """
        best: Cluster | None = None
        views = self._config.views
        for _ in range(_CLUSTER_ATTEMPTS):
            attempt = _ClusterAttempt.begin(self._renderer, self._config, loaded, (width, height), rng)
            if attempt is None or not all(attempt.add_view(index) for index in range(1, views)):
                continue
            cluster = attempt.finish()
            if best is None or cluster.valid.sum() > best.valid.sum():
                best = cluster
            if best.valid.sum() >= self._config.valid_pairs * views * (views - 1):
                break
        if best is None or not best.valid.any():
            raise DataError(f"no cluster of overlapping views found in scene {loaded.scene.name}")
        return best


class _ClusterAttempt:
    """One attempt at a cluster: the views rendered so far and the parameters that they share."""

    def __init__(
        self,
        renderer: Renderer,
        config: ViewConfig,
        loaded: LoadedScene,
        size: tuple[int, int],
        regime: str,
        rng: np.random.Generator,
    ) -> None:
        self._renderer, self._config, self._loaded = renderer, config, loaded
        self._size, self._rng = size, rng
        self._regime = regime
        self._first = sample_viewpoint(loaded.scene, config.regimes[regime].path == "along", rng)
        self._surroundings = Surroundings.look(
            self._first[:3],
            lambda K, pose, width, height: renderer.render(
                [loaded.mesh], K, pose, width, height, supersampling=1
            ),
        )
        self._K = config.cameras.draw(config.views, *size, rng)
        self._brightness = _BRIGHTNESS * math.exp(config.exposure * rng.standard_normal())
        self._automatic = config.automatic * rng.random()
        self._first_gain: float | None = None
        self._distractors: list[Distractor] = []
        self._poses: list[Matrices] = []
        self._views: list[View] = []

    @classmethod
    def begin(
        cls,
        renderer: Renderer,
        config: ViewConfig,
        loaded: LoadedScene,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> _ClusterAttempt | None:
        """Render the first view; return None if it has too little surface or texture."""
        names = list(config.regimes)
        shares = np.array([config.regimes[name].share for name in names])
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        attempt = cls(renderer, config, loaded, size, name, rng)
        return attempt if attempt._add_first_view() else None

    def _add_first_view(self) -> bool:
        regime = self._config.regimes[self._regime]
        pitch = math.radians(self._rng.uniform(*regime.pitch))
        self._roll = math.radians(regime.roll) * self._rng.standard_normal()
        still = Placement(np.zeros(3), np.zeros(3))
        T_world_camera = placed(self._first, Motion(regime, 1.0, 0.0, 0.0, pitch, 0.0), still, self._roll)
        view = self._render(T_world_camera, 0)
        if not self._is_acceptable(view):
            return False
        depth = float(np.median(view.depth[np.isfinite(view.depth)]))
        self._motion = Motion.draw(regime, pitch, depth, self._rng)
        self._points = (
            sparse_points(view.depth, self._K[0], 16) @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
        )
        distractors = self._config.distractors
        if self._rng.random() < distractors.share:
            count = int(self._rng.integers(1, distractors.max_count + 1))
            layers, light = self._loaded.scene.sprites, 1.0 / self._gain(T_world_camera, 0)
            self._distractors = [
                Distractor.draw(distractors, T_world_camera, depth, layers, light, self._rng)
                for _ in range(count)
            ]
            view = self._render_all(T_world_camera, 0)
        self._poses.append(T_world_camera)
        self._views.append(view)
        return True

    def add_view(self, index: int) -> bool:
        """Add an acceptable view that overlaps the first; with each attempt the motion becomes smaller."""
        for attempt in range(_VIEW_ATTEMPTS):
            placement = self._motion.place(index, _SHRINK**attempt, self._rng)
            T_world_camera = placed(self._first, self._motion, placement, self._roll)
            points = (self._points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
            overlap = project(points, self._K[index], *self._size)[1].mean()
            too_far = overlap < self._config.regimes[self._regime].overlap
            if too_far or not self._surroundings.is_free(T_world_camera[:3, 3]):
                continue
            view = self._render_all(T_world_camera, index)
            if self._is_acceptable(view):
                self._poses.append(T_world_camera)
                self._views.append(view)
                return True
        return False

    def finish(self) -> Cluster:
        """Return the cluster of all views, with the first viewpoint as origin."""
        poses = np.stack(self._poses)
        poses[:, :3, 3] -= self._first[:3]
        overlap = overlap_matrix([view.depth for view in self._views], self._K, poses)
        min_overlap = self._config.regimes[self._regime].overlap
        valid = (np.minimum(overlap, overlap.T) >= min_overlap) & ~np.eye(len(poses), dtype=bool)
        return Cluster(
            images=np.stack([view.colour for view in self._views]),
            K=self._K,
            T_world_camera=poses,
            depth=np.stack([view.depth for view in self._views]),
            overlap=overlap,
            valid=valid,
            regime=self._regime,
            scene=self._loaded.scene.name,
        )

    def _render(self, T_world_camera: Matrices, index: int, distractors: LoadedMesh | None = None) -> View:
        gain = self._gain(T_world_camera, index)
        return self._renderer.render(
            [self._loaded.mesh],
            self._K[index],
            T_world_camera,
            *self._size,
            gain=gain,
            sky=self._loaded.sky,
            sky_gain=float(np.clip(gain, *_SKY_GAIN)),
            distractors=distractors,
        )

    def _gain(self, T_world_camera: Matrices, index: int) -> float:
        half_angle = math.atan(0.5 * max(self._size) / float(self._K[index, 0, 0]))
        brightness = self._surroundings.brightness_towards(T_world_camera[:3, 2], half_angle)
        automatic = self._brightness / max(brightness, 0.01)
        if self._first_gain is None:
            self._first_gain = automatic
        gain = automatic**self._automatic * self._first_gain ** (1.0 - self._automatic)
        return float(np.clip(gain, *_GAIN))

    def _is_acceptable(self, view: View) -> bool:
        surface = np.isfinite(view.depth) & (view.depth != UNKNOWN)
        if surface.mean() < self._config.min_surface * (view.depth != UNKNOWN).mean():
            return False
        if np.quantile(view.depth[surface], 0.02) < self._config.min_distance:
            return False
        return detail(view.colour) >= self._config.min_detail

    def _render_all(self, T_world_camera: Matrices, index: int) -> View:
        """Render a view with distractors, or without if they would occlude too much."""
        if self._distractors:
            moved = [distractor.moved(self._rng) for distractor in self._distractors]
            polygons = distractor_mesh(moved, self._loaded.scene.mesh)
            mesh = self._renderer.load(polygons, textures_of=self._loaded.mesh)
            view = self._render(T_world_camera, index, mesh)
            mesh.release()
            if (view.depth == UNKNOWN).mean() <= self._config.distractors.max_hidden:
                return view
        return self._render(T_world_camera, index)


def detail(colour: NDArray[np.uint8], block: int = 8, contrast: float = 4.0) -> float:
    """Return the fraction of image blocks with a standard deviation of at least ``contrast`` grey levels."""
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (grey.shape[1] // block, grey.shape[0] // block)
    grey = grey[: size[1] * block, : size[0] * block]
    mean = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    square = cv2.resize(grey * grey, size, interpolation=cv2.INTER_AREA)
    return float((square - mean * mean >= contrast * contrast).mean())


def sample_viewpoint(scene: Scene, far: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a viewpoint (x, y, z, heading) of the scene with a small random displacement and rotation.

    Args:
        scene: scene with viewpoints.
        far: prefer viewpoints with a large depth, as a road ahead.
        rng: random generator.
    """
    candidates = rng.integers(len(scene.viewpoints), size=_CANDIDATES if far else 1)
    best = candidates[scene.viewpoints[candidates, 4].argmax()]
    viewpoint = scene.viewpoints[best, :4].copy()
    step = rng.standard_normal(3)
    viewpoint[:3] += scene.free_radius * rng.random() * step / np.linalg.norm(step)
    viewpoint[3] += rng.uniform(-_HEADING_JITTER, _HEADING_JITTER)
    return viewpoint

"""Clusters of overlapping views of one scene, with exact poses and depth."""

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

_BRIGHTNESS = 0.42  # mean that an automatic exposure aims at
_GAIN = (0.25, 10.0)
_SKY_GAIN = (0.5, 1.1)  # a sky is brighter than what the scene's light tells
_HEADING_JITTER = math.pi / 16.0  # half the step between the headings of a viewpoint
_CANDIDATES = 4  # viewpoints among which a vehicle takes the one with the longest road ahead
_CLUSTER_ATTEMPTS = 30
_VIEW_ATTEMPTS = 8
_SHRINK = 0.75  # of the motion after a view that was no good


class ClusterPainter:
    """Draws clusters with one renderer; all randomness comes from the generator that each call is given."""

    def __init__(self, renderer: Renderer, config: ViewConfig) -> None:
        self._renderer = renderer
        self._config = config

    def draw(self, loaded: LoadedScene, width: int, height: int, rng: np.random.Generator) -> Cluster:
        """A cluster of images of width x height.

        Raises:
            DataError: the scene yielded no cluster in many attempts.
        """
        best: Cluster | None = None
        possible = self._config.views * (self._config.views - 1)
        for _ in range(_CLUSTER_ATTEMPTS):
            cluster = self._attempt(loaded, width, height, rng)
            if cluster is None:
                continue
            if best is None or cluster.valid.sum() > best.valid.sum():
                best = cluster
            if best.valid.sum() >= self._config.valid_pairs * possible:
                break
        if best is None or not best.valid.any():
            raise DataError(f"no cluster of overlapping views found in scene {loaded.scene.name}")
        return best

    def _attempt(
        self, loaded: LoadedScene, width: int, height: int, rng: np.random.Generator
    ) -> Cluster | None:
        session = _Session.begin(self._renderer, self._config, loaded, (width, height), rng)
        if session is None:
            return None
        for index in range(1, self._config.views):
            if not session.add_view(index):
                return None
        return session.finish()


class _Session:
    """One attempt at a cluster: the views so far and what they have in common."""

    def __init__(
        self,
        renderer: Renderer,
        config: ViewConfig,
        loaded: LoadedScene,
        size: tuple[int, int],
        regime: str,
        rng: np.random.Generator,
    ) -> None:
        self._renderer, self._config, self._loaded, self._size, self._rng = (
            renderer,
            config,
            loaded,
            size,
            rng,
        )
        self._regime = regime
        self._first = _viewpoint(loaded.scene, config.regimes[regime].path == "along", rng)
        self._surroundings = Surroundings.look(self._first[:3], self._draw_plain)
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
    ) -> _Session | None:
        """A session with its first view, or None where that view shows too little."""
        names = list(config.regimes)
        shares = np.array([config.regimes[name].share for name in names])
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        session = cls(renderer, config, loaded, size, name, rng)
        return session if session._add_first_view() else None

    def _add_first_view(self) -> bool:
        regime = self._config.regimes[self._regime]
        pitch = math.radians(self._rng.uniform(*regime.pitch))
        self._roll = math.radians(regime.roll) * self._rng.standard_normal()
        still = Placement(np.zeros(3), np.zeros(3))
        T_world_camera = placed(self._first, Motion(regime, 1.0, 0.0, 0.0, pitch, 0.0), still, self._roll)
        view = self._render(T_world_camera, 0)
        if not self._is_good(view):
            return False
        depth = float(np.median(view.depth[np.isfinite(view.depth)]))
        self._motion = Motion.draw(regime, pitch, depth, self._rng)
        self._points = (
            sparse_points(view.depth, self._K[0], 16) @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
        )
        if self._rng.random() < self._config.distractors.share:
            self._distractors = self._draw_distractors(T_world_camera, depth)
            view = self._render_all(T_world_camera, 0)
        self._poses.append(T_world_camera)
        self._views.append(view)
        return True

    def add_view(self, index: int) -> bool:
        """Add a view that shows enough and overlaps the first, the nearer to it the longer that takes."""
        for attempt in range(_VIEW_ATTEMPTS):
            placement = self._motion.place(index, _SHRINK**attempt, self._rng)
            T_world_camera = placed(self._first, self._motion, placement, self._roll)
            if not self._overlaps(T_world_camera, index) or not self._surroundings.is_free(
                T_world_camera[:3, 3]
            ):
                continue
            view = self._render_all(T_world_camera, index)
            if self._is_good(view):
                self._poses.append(T_world_camera)
                self._views.append(view)
                return True
        return False

    def finish(self) -> Cluster:
        """The cluster of all views."""
        poses = np.stack(self._poses)
        poses[:, :3, 3] -= self._first[:3]
        overlap = overlap_matrix([view.depth for view in self._views], self._K, poses)
        least = self._config.regimes[self._regime].overlap
        valid = (np.minimum(overlap, overlap.T) >= least) & ~np.eye(len(poses), dtype=bool)
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

    def _draw_plain(self, K: Matrices, T_world_camera: Matrices, width: int, height: int) -> View:
        return self._renderer.render([self._loaded.mesh], K, T_world_camera, width, height, supersampling=1)

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

    def _is_good(self, view: View) -> bool:
        surface = np.isfinite(view.depth) & (view.depth != UNKNOWN)
        if surface.mean() < self._config.least_surface * (view.depth != UNKNOWN).mean():
            return False
        if np.quantile(view.depth[surface], 0.02) < self._config.nearest:
            return False
        return detail(view.colour) >= self._config.least_detail

    def _overlaps(self, T_world_camera: Matrices, index: int) -> bool:
        points = (self._points - T_world_camera[:3, 3]) @ T_world_camera[:3, :3]
        inside = project(points, self._K[index], *self._size)[1]
        return bool(inside.mean() >= self._config.regimes[self._regime].overlap)

    def _draw_distractors(self, T_world_camera: Matrices, depth: float) -> list[Distractor]:
        config = self._config.distractors
        count = int(self._rng.integers(1, config.most + 1))
        layers = self._loaded.scene.sprites
        light = 1.0 / self._gain(T_world_camera, 0)
        return [
            Distractor.draw(config, T_world_camera, depth, layers, light, self._rng) for _ in range(count)
        ]

    def _render_all(self, T_world_camera: Matrices, index: int) -> View:
        """A view with the distractors where it finds them; without where they would hide too much."""
        if self._distractors:
            moved = [distractor.moved(self._rng) for distractor in self._distractors]
            polygons = distractor_mesh(moved, self._loaded.scene.mesh)
            mesh = self._renderer.load(polygons, textures_of=self._loaded.mesh)
            view = self._render(T_world_camera, index, mesh)
            mesh.release()
            if (view.depth == UNKNOWN).mean() <= self._config.distractors.most_hidden:
                return view
        return self._render(T_world_camera, index)


def detail(colour: NDArray[np.uint8], block: int = 8, contrast: float = 4.0) -> float:
    """Share of blocks of pixels whose grey levels have a standard deviation of at least ``contrast``."""
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = (grey.shape[1] // block, grey.shape[0] // block)
    grey = grey[: size[1] * block, : size[0] * block]
    mean = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    square = cv2.resize(grey * grey, size, interpolation=cv2.INTER_AREA)
    return float((square - mean * mean >= contrast * contrast).mean())


def _viewpoint(scene: Scene, far: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """One of the scene's viewpoints (x, y, z, heading), moved and turned by a little."""
    candidates = rng.integers(len(scene.viewpoints), size=_CANDIDATES if far else 1)
    best = candidates[scene.viewpoints[candidates, 4].argmax()]
    chosen = scene.viewpoints[best, :4].copy()
    step = rng.standard_normal(3)
    chosen[:3] += scene.free_radius * rng.random() * step / np.linalg.norm(step)
    chosen[3] += rng.uniform(-_HEADING_JITTER, _HEADING_JITTER)
    return chosen

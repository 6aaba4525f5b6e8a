"""What a cluster of views is, and how clusters are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.matched_scenes import PointMatches
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.training.cameras import CameraConfig
from iup_pose_ros.training.distractors import DistractorConfig
from iup_pose_ros.training.regimes import REGIMES, Regime
from iup_pose_ros.training.renderer import LoadedMesh, LoadedSky, Renderer
from iup_pose_ros.training.scenes import Scene

Matrices = NDArray[np.float64]


@dataclass(frozen=True)
class ViewConfig:
    """How clusters are drawn.

    Attributes:
        views: number of views in a cluster.
        regimes: kinds of motion by name, each with its share.
        cameras: intrinsics.
        distractors: what moves by itself.
        least_surface: least share of a view that shows surfaces, not sky.
        least_detail: least share of a view with local contrast.
        nearest: least distance of (almost) all surfaces, metres.
        exposure: spread of the logarithm of the brightness between clusters.
        automatic: how far, at most, a view is exposed for itself: 0 all as the first, 1 each on its own.
        valid_pairs: least share of ordered pairs that overlap; fewer are accepted after many attempts.
    """

    views: int = 8
    regimes: Mapping[str, Regime] = field(default_factory=lambda: dict(REGIMES))
    cameras: CameraConfig = field(default_factory=CameraConfig)
    distractors: DistractorConfig = field(default_factory=DistractorConfig)
    least_surface: float = 0.5
    least_detail: float = 0.35
    nearest: float = 0.2
    exposure: float = 0.2
    automatic: float = 1.0
    valid_pairs: float = 0.6

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ConfigurationError(f"a cluster of {self.views} views has no pair; at least 2 are needed")
        if not sum(regime.share for regime in self.regimes.values()) > 0.0:
            raise ConfigurationError("the shares of all regimes are 0; at least one must be positive")


@dataclass(frozen=True, eq=False)
class LoadedScene:
    """A scene in the memory of a renderer."""

    scene: Scene
    mesh: LoadedMesh
    sky: LoadedSky

    @classmethod
    def load(cls, renderer: Renderer, scene: Scene, sky: NDArray[np.uint8]) -> LoadedScene:
        """Copy a scene and its sky (see ``sky``) to the renderer."""
        return cls(scene, renderer.load(scene.mesh), renderer.load_sky(sky))

    def release(self) -> None:
        """Free the renderer's memory."""
        self.mesh.release()
        self.sky.release()


@dataclass(frozen=True, eq=False)
class Cluster:
    """V overlapping views.

    Attributes:
        images: (V, H, W, 3) uint8 RGB.
        K: (V, 3, 3) pinhole matrices, pixel (0, 0) at the centre of the top-left pixel.
        T_world_camera: (V, 4, 4) poses of optical frames, metres; the origin is the first camera's centre.
        depth: (V, H, W) float32 metres; infinite: sky; 0: no truth, something moves there.
        overlap: (V, V) share of the surfaces in view i (row) that view j (column) sees.
        valid: (V, V) bool, ordered pairs that overlap enough in both directions.
        regime: name of the motion.
        scene: name of the scene.
        metric: whether lengths are metres.
        matches: true matches of view 0 with view 1, of clusters of two views whose depth is not known.
    """

    images: NDArray[np.uint8]
    K: Matrices
    T_world_camera: Matrices
    depth: NDArray[np.float32]
    overlap: Matrices
    valid: NDArray[np.bool_]
    regime: str
    scene: str
    metric: bool = True
    matches: PointMatches | None = None

"""Configuration of clusters of views, and scenes in the memory of a renderer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.training.synthetic.camera_motion import REGIMES, Regime
from iup_pose_ros.training.synthetic.cameras import CameraConfig
from iup_pose_ros.training.synthetic.distractors import DistractorConfig
from iup_pose_ros.training.synthetic.renderer import LoadedMesh, LoadedSky, Renderer
from iup_pose_ros.training.synthetic.scenes import Scene


@dataclass(frozen=True)
class ViewConfig:
    """Distribution of clusters of views.

    Attributes:
        views: number of views in a cluster.
        regimes: camera motions by name.
        cameras: distribution of the intrinsics.
        distractors: distribution of moving objects.
        min_surface: minimum fraction of a view that shows surfaces instead of sky.
        min_detail: minimum fraction of a view with local contrast.
        min_distance: minimum distance (2nd percentile) of the surfaces of a view, metres.
        exposure: standard deviation of the logarithm of the brightness between clusters.
        automatic: maximum degree of automatic exposure: 0: all views as the first, 1: each view separately.
        valid_pairs: fraction of overlapping ordered pairs to aim at; if no attempt reaches it, the best
            cluster is used.

    Raises:
        ConfigurationError: there are fewer than two views, or all regimes have a share of zero.
    """

    views: int = 8
    regimes: Mapping[str, Regime] = field(default_factory=lambda: dict(REGIMES))
    cameras: CameraConfig = field(default_factory=CameraConfig)
    distractors: DistractorConfig = field(default_factory=DistractorConfig)
    min_surface: float = 0.5
    min_detail: float = 0.35
    min_distance: float = 0.2
    exposure: float = 0.2
    automatic: float = 1.0
    valid_pairs: float = 0.6

    def __post_init__(self) -> None:
        if self.views < 2:
            raise ConfigurationError(f"a cluster of {self.views} views has no pair; at least 2 are required")
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
        """Copy a scene and its sky, a cube map (6, S, S, 3), to the memory of a renderer."""
        return cls(scene, renderer.load(scene.mesh), renderer.load_sky(sky))

    def release(self) -> None:
        """Free the memory of the renderer."""
        self.mesh.release()
        self.sky.release()

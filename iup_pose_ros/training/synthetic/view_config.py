"""How clusters of views are drawn, and from what."""

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

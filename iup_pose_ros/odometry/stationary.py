"""Whether the camera stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.tracks import Tracks


@dataclass(frozen=True, eq=False)
class _Anchor:
    stamp: float
    ids: NDArray[np.int64]
    points: Array


class StationaryDetector:
    """Compares the tracks with where they were when the camera last moved.

    The median over tracks ignores a minority of moving objects, and comparing with a fixed place rather than
    with the frame before lets slow motion add up until it is seen.
    """

    def __init__(self, config: OdometryConfig) -> None:
        self.config = config
        self._anchor: _Anchor | None = None
        self._resting = False

    def update(self, tracks: Tracks) -> bool:
        """Takes the tracks of the current frame; True when the camera has been at rest for the window."""
        config = self.config
        factor = config.stationary_hysteresis if self._resting else 1.0
        limit = factor * config.stationary_motion * tracks.latest.intrinsics.width
        anchor = self._anchor
        if anchor is None or self._displacement(anchor, tracks) > limit:
            self._anchor = _Anchor(tracks.latest.stamp, tracks.ids, tracks.points_latest)
            self._resting = False
        else:
            self._resting = tracks.latest.stamp - anchor.stamp >= config.stationary_window
        return self._resting

    def reset(self) -> None:
        """Forgets everything."""
        self._anchor = None
        self._resting = False

    def _displacement(self, anchor: _Anchor, tracks: Tracks) -> float:
        """Median motion in pixels since the anchor; infinite where too few tracks are left to tell."""
        _, then, now = np.intersect1d(anchor.ids, tracks.ids, assume_unique=True, return_indices=True)
        if len(now) < self.config.minimum_tracks:
            return float("inf")
        motion = np.linalg.norm(tracks.points_latest[now] - anchor.points[then], axis=1)
        return float(np.median(motion))

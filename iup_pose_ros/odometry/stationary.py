"""Whether the camera stands still."""

from __future__ import annotations

from collections import deque
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
        self._history: deque[_Anchor] = deque()

    def update(self, tracks: Tracks) -> bool:
        """Takes the tracks of the current frame; True when the camera has been at rest for the window."""
        config = self.config
        self._remember(tracks)
        factor = config.stationary_hysteresis if self._resting else 1.0
        limit = factor * config.stationary_motion * tracks.latest.intrinsics.width
        anchor = self._anchor
        if anchor is None or self._displacement(anchor, tracks) > limit:
            self._anchor = _Anchor(tracks.latest.stamp, tracks.ids, tracks.points_latest)
            self._resting = False
        else:
            self._resting = tracks.latest.stamp - anchor.stamp >= config.stationary_window
        return self._resting

    def still_share(self, tracks: Tracks) -> float:
        """Return the share of the tracks that have stayed in place for the window (half of it at the start).

        Of a camera that moves only what is very far away stays in place, and only while nothing turns it.
        """
        then = self._history[0] if self._history else None
        if then is None or tracks.latest.stamp - then.stamp < 0.5 * self.config.stationary_window:
            return 0.0
        motion = _motion(then, tracks)
        limit = self.config.stationary_motion * tracks.latest.intrinsics.width
        return float(np.count_nonzero(motion <= limit)) / max(len(tracks), 1)

    def reset(self) -> None:
        """Forgets everything."""
        self._anchor = None
        self._history.clear()
        self._resting = False

    def _displacement(self, anchor: _Anchor, tracks: Tracks) -> float:
        """Median motion in pixels since the anchor; infinite where too few tracks are left to tell."""
        motion = _motion(anchor, tracks)
        return float(np.median(motion)) if len(motion) >= self.config.minimum_tracks else float("inf")

    def _remember(self, tracks: Tracks) -> None:
        """Keep the positions of the last ones back to one as old as the window."""
        history, stamp = self._history, tracks.latest.stamp
        history.append(_Anchor(stamp, tracks.ids, tracks.points_latest))
        while len(history) > 1 and stamp - history[1].stamp >= self.config.stationary_window:
            history.popleft()


def _motion(anchor: _Anchor, tracks: Tracks) -> Array:
    """Return the distances in pixels (M,) that tracks have moved since the anchor, of those that it had."""
    _, then, now = np.intersect1d(anchor.ids, tracks.ids, assume_unique=True, return_indices=True)
    return np.linalg.norm(tracks.points_latest[now] - anchor.points[then], axis=1)

"""Decisions on an image from its tracks alone: is the camera at rest, does the image become a keyframe."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, fitted_rotation, rotation_compensated_motion
from iup_pose_ros.odometry.tracks import Tracks

# Maximum share of tracks that stay in place while the others move; with a moving camera hardly 2 % do.
_STILL_SHARE = 0.2
_CONTRADICTION = (
    "more than 20 % of the tracks stay in place while the others move: objects move in front of a resting "
    "camera, or most of the scene is too far away to show the motion"
)


@dataclass(frozen=True)
class Motion:
    """Motion of the tracks since the last keyframe, before any pose is estimated.

    Attributes:
        parallax: median motion after compensating the rotation, as a fraction of the image width.
        rotation: angle of that rotation, radians.
    """

    parallax: float
    rotation: float


def tracked_motion(rays: TrackedRays) -> Motion:
    """Return parallax and rotation of the tracks; requires at least three tracks."""
    rotation = fitted_rotation(rays)
    residuals = rotation_compensated_motion(rays, rotation)
    return Motion(float(np.median(residuals)) / rays.width, float(so3.angle(rotation)))


def is_keyframe(motion: Motion, fraction: float, interval: float, config: OdometryConfig) -> bool:
    """Return whether any threshold is passed: parallax, rotation, share of surviving tracks, seconds."""
    return (
        motion.parallax >= config.keyframe_parallax
        or motion.rotation >= config.keyframe_rotation
        or fraction <= config.keyframe_tracked_fraction
        or interval >= config.keyframe_interval
    )


def is_keyframe_due(tracks: Tracks, has_moved: bool, config: OdometryConfig) -> bool:
    """Return whether the latest frame of the tracks becomes a keyframe, also if too few tracks are left.

    Args:
        tracks: tracks since the last keyframe.
        has_moved: whether there was a step. The first one defines the unit of length and therefore waits for
            parallax, not for an interval.
        config: thresholds.
    """
    if len(tracks) < config.minimum_tracks:
        return True
    is_timed = has_moved or tracks.median_motion > config.keyframe_parallax
    interval = tracks.interval if is_timed else 0.0
    return is_keyframe(tracked_motion(tracks.rays), tracks.fraction, interval, config)


@dataclass(frozen=True, eq=False)
class _Anchor:
    """Positions (N, 2) of tracks in a frame, pixels."""

    stamp: float
    ids: NDArray[np.int64]
    points: Array


class StationaryDetector:
    """Compares the tracks with their positions when the camera last moved.

    The median over tracks is robust to a minority of moving objects. Comparing with a fixed frame rather than
    with the previous one lets slow motion accumulate until it is detected.
    """

    def __init__(self, config: OdometryConfig) -> None:
        self.config = config
        self._anchor: _Anchor | None = None
        self._resting = False
        self._history: deque[_Anchor] = deque()

    def update(self, tracks: Tracks) -> bool:
        """Add the tracks of the current frame; return whether the camera has been at rest for the window."""
        config, history, stamp = self.config, self._history, tracks.latest.stamp
        current = _Anchor(stamp, tracks.ids, tracks.points_latest)
        history.append(current)
        while len(history) > 1 and stamp - history[1].stamp >= config.stationary_window:
            history.popleft()

        factor = config.stationary_hysteresis if self._resting else 1.0
        limit = factor * config.stationary_motion * tracks.latest.intrinsics.width
        anchor = self._anchor
        motion = np.zeros(0) if anchor is None else _motion(anchor, tracks)
        if anchor is None or len(motion) < config.minimum_tracks or np.median(motion) > limit:
            self._anchor = current
            self._resting = False
        else:
            self._resting = stamp - anchor.stamp >= config.stationary_window
        return self._resting

    def contradiction(self, tracks: Tracks) -> str:
        """Return why the motion of the tracks is not that of the camera, one sentence; empty if it may be.

        It is not if too many tracks stay in place, over the window (half of it at the start), while others
        move. With a moving camera only very distant points stay in place, and only while it does not rotate.
        """
        # The oldest image with these tracks; after a restart from a new keyframe older ones have none.
        then = next((image for image in self._history if np.isin(image.ids, tracks.ids).any()), None)
        if then is None or tracks.latest.stamp - then.stamp < 0.5 * self.config.stationary_window:
            return ""
        limit = self.config.stationary_motion * tracks.latest.intrinsics.width
        still = np.count_nonzero(_motion(then, tracks) <= limit)
        return _CONTRADICTION if still > _STILL_SHARE * len(tracks) else ""

    def undetected_speed(self, intrinsics: Intrinsics) -> tuple[float, float]:
        """Return the fastest motion taken for rest: image widths per second, rad/s for a rotation."""
        shift = self.config.stationary_motion / self.config.stationary_window
        return shift, shift * intrinsics.width / intrinsics.fx

    def reset(self) -> None:
        """Clear all state."""
        self._anchor = None
        self._history.clear()
        self._resting = False


def _motion(anchor: _Anchor, tracks: Tracks) -> Array:
    """Return the motion since the anchor, pixels (M,), of the tracks that it has in common with these."""
    _, then, now = np.intersect1d(anchor.ids, tracks.ids, assume_unique=True, return_indices=True)
    return np.linalg.norm(tracks.points_latest[now] - anchor.points[then], axis=1)

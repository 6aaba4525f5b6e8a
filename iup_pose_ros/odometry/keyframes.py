"""Keyframe decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, fitted_rotation, rotation_compensated_motion
from iup_pose_ros.odometry.tracks import Tracks


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

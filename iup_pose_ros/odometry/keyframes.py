"""Keyframe decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, fitted_rotation, rotation_compensated_motion


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

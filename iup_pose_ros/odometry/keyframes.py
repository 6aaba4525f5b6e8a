"""When the current frame becomes a keyframe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, fitted_rotation, rotation_compensated_motion


@dataclass(frozen=True)
class Motion:
    """What the tracks tell about the motion since the last keyframe before any pose is estimated.

    Attributes:
        parallax: median motion beyond a rotation, as a fraction of the image width.
        rotation: angle of that rotation, radians.
    """

    parallax: float
    rotation: float


def tracked_motion(rays: TrackedRays) -> Motion:
    """Motion that the tracks show; at least three tracks are needed."""
    rotation = fitted_rotation(rays)
    residuals = rotation_compensated_motion(rays, rotation)
    return Motion(float(np.median(residuals)) / rays.width, float(so3.angle(rotation)))


def is_keyframe(motion: Motion, fraction: float, interval: float, config: OdometryConfig) -> bool:
    """Whether any threshold is passed: parallax, rotation, share of surviving tracks, seconds."""
    return (
        motion.parallax >= config.keyframe_parallax
        or motion.rotation >= config.keyframe_rotation
        or fraction <= config.keyframe_tracked_fraction
        or interval >= config.keyframe_interval
    )

"""Plausibility check of an estimator's relative pose."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, step_depths
from iup_pose_ros.types import RelativePose

# A track agrees within three sigmas of one pixel (at 640 pixels width) and of the pose's rotation error.
_PIXEL = 1.0 / 640.0
_DEVIATIONS = 3.0


def check(relative: RelativePose, rays: TrackedRays, interval: float, config: OdometryConfig) -> None:
    """Check that a pose is finite, has a positive definite covariance, and agrees with rate limit and tracks.

    Args:
        relative: the estimator's relative pose.
        rays: tracks between the two frames; ignored if fewer than ``config.minimum_tracks``.
        interval: seconds between the two frames.
        config: thresholds.

    Raises:
        EstimationError: a check fails; the message says which.
    """
    pose, covariance = relative.T_prev_curr, relative.covariance
    values = np.concatenate([pose.matrix.ravel(), np.ravel(covariance), relative.sigma_R, [relative.sigma_t]])
    if not np.all(np.isfinite(values)):
        raise EstimationError(f"pose or covariance of {relative.source} is not finite")
    if np.linalg.norm(pose.translation) == 0.0 and not relative.metric:
        raise EstimationError(f"translation of {relative.source} has no direction")
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise EstimationError(f"covariance of {relative.source} is not positive definite")
    check_rotation_rate(pose, interval, config, relative.source)
    if len(rays) >= config.minimum_tracks:
        share = _inlier_share(relative, rays)
        if share < config.minimum_inlier_fraction:
            raise EstimationError(
                f"only {share:.0%} of {len(rays)} tracks agree with the pose of {relative.source}, "
                f"the minimum is {config.minimum_inlier_fraction:.0%} (minimum_inlier_fraction)"
            )


def check_rotation_rate(pose: Pose, interval: float, config: OdometryConfig, source: str) -> None:
    """Raise EstimationError if a pose of ``interval`` seconds rotates faster than the settings allow."""
    rate = float(so3.angle(pose.rotation)) / interval
    if rate > config.maximum_rotation_rate:
        raise EstimationError(
            f"rotation rate of {source} is {rate:.1f} rad/s; the maximum is "
            f"{config.maximum_rotation_rate} rad/s (maximum_rotation_rate)"
        )


def _inlier_share(relative: RelativePose, rays: TrackedRays) -> float:
    """Return the share of tracks near their epipolar lines and not clearly behind the cameras."""
    pixel = _PIXEL * rays.width
    tolerance = _DEVIATIONS * float(np.hypot(pixel, rays.focal * np.max(relative.sigma_R)))
    direction = relative.T_prev_curr.translation
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return 1.0
    depths = step_depths(rays, Pose(relative.T_prev_curr.rotation, direction / length))
    return float(np.mean(depths.inliers(tolerance)))

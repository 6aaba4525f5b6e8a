"""Whether an estimator's answer can be believed."""

from __future__ import annotations

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import TrackedRays, step_depths
from iup_pose_ros.types import RelativePose

# A track agrees within three deviations of a pixel (at 640 pixels width) and the pose's own rotation error.
_PIXEL = 1.0 / 640.0
_DEVIATIONS = 3.0


def check(relative: RelativePose, rays: TrackedRays, interval: float, config: OdometryConfig) -> None:
    """Passes a pose that is finite, has a sound covariance, turns slowly enough and fits its tracks.

    Args:
        relative: the estimator's answer.
        rays: tracks between the two frames; too few (``config.minimum_tracks``) are not asked.
        interval: seconds between the two frames.
        config: thresholds.

    Raises:
        EstimationError: the answer fails; the message says why.
    """
    _check_numbers(relative)
    rate = float(so3.angle(relative.T_prev_curr.rotation)) / interval
    if rate > config.maximum_rotation_rate:
        raise EstimationError(
            f"{relative.source} turns the camera at {rate:.1f} rad/s; at most "
            f"{config.maximum_rotation_rate} is believed"
        )
    if len(rays) >= config.minimum_tracks:
        share = _inlier_share(relative, rays)
        if share < config.minimum_inlier_fraction:
            raise EstimationError(
                f"only {share:.0%} of {len(rays)} tracks agree with the pose of {relative.source}, "
                f"at least {config.minimum_inlier_fraction:.0%} are needed"
            )


def _check_numbers(relative: RelativePose) -> None:
    pose, covariance = relative.T_prev_curr, relative.covariance
    values = np.concatenate([pose.matrix.ravel(), np.ravel(covariance), relative.sigma_R, [relative.sigma_t]])
    if not np.all(np.isfinite(values)):
        raise EstimationError(f"pose or covariance of {relative.source} is not finite")
    if np.linalg.norm(pose.translation) == 0.0 and not relative.metric:
        raise EstimationError(f"translation of {relative.source} has no direction")
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise EstimationError(f"covariance of {relative.source} is not positive definite")


def _inlier_share(relative: RelativePose, rays: TrackedRays) -> float:
    """Share of tracks near their epipolar lines and not clearly behind the cameras."""
    pixel = _PIXEL * rays.width
    tolerance = _DEVIATIONS * float(np.hypot(pixel, rays.focal * np.max(relative.sigma_R)))
    direction = relative.T_prev_curr.translation
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return 1.0
    depths = step_depths(rays, Pose(relative.T_prev_curr.rotation, direction / length))
    ahead = depths.inverse > -tolerance * depths.sensitivity
    return float(np.mean((np.abs(depths.residual) < tolerance) & ahead))

"""Geometry of the tracks between two frames given a relative pose: residuals, parallax, depth.

Tracks are viewing rays (z = 1). After a step of unit direction t and length s the current camera sees the
point on ray a at depth z along R^T (a - mu t) with mu = s / z: only mu, the inverse depth in units of the
step, is observable.
Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, chapters 9 and 12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array, project_to_so3
from iup_pose_ros.types import Matches

MIN_TRACKS = 12
# The direction of a step is observable if a quarter of its tracks moves by this many sigmas of the noise.
SIGNIFICANT_PARALLAX = 4.0

# Minimum tracking noise as a fraction of the image width (a quarter of a pixel at 640).
NOISE_FLOOR = 0.25 / 640.0
_INLIER = 3.5
_ROTATION_ITERATIONS = 8


@dataclass(frozen=True, eq=False)
class TrackedRays:
    """Tracks between a keyframe and the current frame of one camera.

    Attributes:
        ids: (N,) ids of the tracks, ascending.
        previous: rays (N, 3), z = 1, of the keyframe.
        current: rays (N, 3), z = 1, of the current frame.
        focal: geometric mean of the focal lengths in pixels; converts image-plane lengths to pixels.
        width: image width in pixels.
    """

    ids: NDArray[np.int64]
    previous: Array
    current: Array
    focal: float
    width: int

    @classmethod
    def of(cls, ids: NDArray[np.int64], matches: Matches, intrinsics: Intrinsics) -> TrackedRays:
        """Return the rays of pixel matches with track ids (N,)."""
        return cls(
            ids,
            intrinsics.rays(matches.points_prev),
            intrinsics.rays(matches.points_curr),
            float(np.sqrt(intrinsics.fx * intrinsics.fy)),
            intrinsics.width,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: NDArray[np.bool_]) -> TrackedRays:
        """Return only the chosen tracks (N,)."""
        return TrackedRays(self.ids[rows], self.previous[rows], self.current[rows], self.focal, self.width)


@dataclass(frozen=True, eq=False)
class StepDepths:
    """Inverse depth and epipolar residual per track for a relative pose of unit translation.

    Attributes:
        inverse: (N,) step length over depth (mu); negative behind the camera.
        sensitivity: (N,) change of ``inverse`` per pixel of noise along the epipolar line.
        residual: (N,) signed distance from the epipolar line in the current image, pixels.
    """

    inverse: Array
    sensitivity: Array
    residual: Array

    def inliers(self, threshold: float, behind: float | None = None) -> NDArray[np.bool_]:
        """Return which of the N tracks are near their epipolar lines and not behind the cameras.

        Args:
            threshold: maximum absolute residual, pixels.
            behind: maximum motion against the direction of the step along the epipolar line, pixels; None:
                ``threshold``.
        """
        limit = threshold if behind is None else behind
        return (np.abs(self.residual) < threshold) & (self.inverse > -limit * self.sensitivity)


@dataclass(frozen=True, eq=False)
class Observation:
    """Agreement of N tracks with a pose of unit translation.

    Attributes:
        depths: inverse depths in steps and epipolar residuals.
        variance: (N,) variances of the inverse depths in steps.
        noise: standard deviation of the tracks, pixels; includes the errors of the pose.
        agreeing: (N,) tracks near their epipolar lines and not behind the cameras.
        steady: (N,) tracks without significant motion beyond the rotation.
        shows_direction: whether the tracks have enough parallax to determine the direction.
    """

    depths: StepDepths
    variance: Array
    noise: float
    agreeing: NDArray[np.bool_]
    steady: NDArray[np.bool_]
    shows_direction: bool


def step_depths(rays: TrackedRays, T_prev_curr: Pose) -> StepDepths:
    """Return inverse depths in steps and epipolar residuals for a pose of unit translation."""
    point = rays.previous @ T_prev_curr.rotation
    epipole = T_prev_curr.rotation.T @ T_prev_curr.translation
    observed = rays.current[:, :2]
    offset = point[:, :2] - observed * point[:, 2:]
    slope = epipole[:2] - observed * epipole[2]
    square = np.maximum(np.sum(slope**2, axis=1), 1e-16)
    inverse = np.sum(offset * slope, axis=1) / square
    depth_ratio = np.maximum(np.abs(point[:, 2] - inverse * epipole[2]), 1e-3)
    across = offset[:, 0] * slope[:, 1] - offset[:, 1] * slope[:, 0]
    residual = across / np.sqrt(square) / depth_ratio * rays.focal
    return StepDepths(inverse, depth_ratio / np.sqrt(square) / rays.focal, residual)


def robust_sigma(residuals: Array, floor: float) -> float:
    """Return the standard deviation of residuals (N,) from their median absolute value, minimum ``floor``."""
    if len(residuals) == 0:
        return floor
    return max(floor, 1.4826 * float(np.median(np.abs(residuals))))


def rotation_compensated_motion(rays: TrackedRays, R_prev_curr: Array) -> Array:
    """Return the image motion (N,) in pixels after compensating the rotation."""
    turned = rays.previous @ R_prev_curr
    return np.linalg.norm(turned[:, :2] / turned[:, 2:] - rays.current[:, :2], axis=1) * rays.focal


def fitted_rotation(rays: TrackedRays) -> Array:
    """Return the rotation R_prev_curr (3, 3) that fits the tracks best, by least absolute residuals.

    Iteratively reweighted Kabsch alignment of unit rays; robust to a minority of points with parallax.
    """
    previous = rays.previous / np.linalg.norm(rays.previous, axis=1, keepdims=True)
    current = rays.current / np.linalg.norm(rays.current, axis=1, keepdims=True)
    weights = np.ones(len(rays))
    rotation = np.eye(3)
    for _ in range(_ROTATION_ITERATIONS):
        rotation = project_to_so3((previous * weights[:, None]).T @ current)
        residuals = np.linalg.norm(previous - current @ rotation.T, axis=1) * rays.focal
        weights = 1.0 / np.maximum(residuals, 0.1)
    return rotation


def observe(rays: TrackedRays, T_prev_curr: Pose) -> Observation:
    """Return the agreement of N tracks with a pose of unit translation."""
    depths = step_depths(rays, T_prev_curr)
    noise = robust_sigma(depths.residual, NOISE_FLOOR * rays.width)
    agreeing = depths.inliers(_INLIER * noise)
    motion = rotation_compensated_motion(rays, T_prev_curr.rotation)
    limit = SIGNIFICANT_PARALLAX * noise
    shows_direction = len(rays) < MIN_TRACKS or float(np.percentile(motion, 75)) >= limit
    return Observation(
        depths, (noise * depths.sensitivity) ** 2, noise, agreeing, motion < 2.0 * limit, shows_direction
    )

"""Where the length of a step comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.base import RelativePose
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.config import OdometryConfig
from iup_pose_ros.odometry.depths import (
    InverseDepths,
    pose_jacobian,
    step_length,
    translation_from_depths,
)
from iup_pose_ros.odometry.two_view import (
    StepDepths,
    TrackedRays,
    robust_sigma,
    rotation_compensated_motion,
    step_depths,
)

# Tracking noise is never below this fraction of the image width (a quarter of a pixel at 640).
_NOISE_FLOOR = 0.25 / 640.0
# The direction of a step shows when a quarter of its tracks moves by this many deviations of the noise.
_SIGNIFICANT_PARALLAX = 4.0
_INLIER = 3.5
_LEAST_RELATIVE_SIGMA = 0.01
_HELD_RELATIVE_SIGMA = 0.5
_FIXED_RELATIVE_SIGMA = 0.1
_FEWEST_SHARED = 12

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ScaledStep:
    """A step with its length.

    Attributes:
        camera: T_prev_curr of the camera, covariance in the previous camera frame.
        sigma_t: standard deviation of the direction per axis, radians.
        metric: whether the length is in metres.
        source: where the length comes from.
        inliers: (N,) the tracks that agree with the pose.
    """

    camera: PoseWithCovariance
    sigma_t: float
    metric: bool
    source: str
    inliers: Mask


class ScaleSource(Protocol):
    """Gives the steps their lengths."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """The step with its length; ``interval`` is its duration in seconds."""

    def unseen(self, shift: float) -> float:
        """Length of a translation that moves the median track by ``shift``, a fraction of the image width."""


def scale_source(config: OdometryConfig) -> ScaleSource:
    """The source that the settings name."""
    if config.scale_source == "fixed":
        return FixedScale(config)
    return RelativeScale(config)


def metric_step(relative: RelativePose, rays: TrackedRays) -> ScaledStep:
    """The step of an estimator that knows the length itself."""
    camera = PoseWithCovariance(relative.T_prev_curr, relative.covariance)
    return ScaledStep(camera, relative.sigma_t, True, "estimator", np.ones(len(rays), dtype=np.bool_))


class FixedScale:
    """Every step has the configured length in metres."""

    def __init__(self, config: OdometryConfig) -> None:
        self._length = config.fixed_step_length
        self._keyframe_parallax = config.keyframe_parallax

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """See ScaleSource.step; without parallax a step is nought, plus or minus its length."""
        seen = _observe(relative, rays)
        if seen.significant:
            sigma = _FIXED_RELATIVE_SIGMA * self._length
            return _along_direction(relative, seen, self._length, sigma, np.zeros(6), True, "fixed")
        return _rotation_only(relative, seen, self._length, True, "fixed (rotation only)")

    def unseen(self, shift: float) -> float:
        """See ScaleSource.unseen; a step makes about the keyframe parallax."""
        return self._length * shift / self._keyframe_parallax


class RelativeScale:
    """The first step has length 1; later ones follow from tracks shared by consecutive pairs of keyframes."""

    def __init__(self, config: OdometryConfig) -> None:
        self._depths = InverseDepths.none()
        self._speed: float | None = None
        # How far a translation of one unit moves the median track, as a fraction of the image width. The
        # first step has length 1 and makes at least the keyframe parallax.
        self._shift_per_unit = config.keyframe_parallax

    def unseen(self, shift: float) -> float:
        """See ScaleSource.unseen."""
        return shift / self._shift_per_unit

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """See ScaleSource.step."""
        seen = _observe(relative, rays)
        known = self._depths.of(rays.ids)
        if not seen.significant:
            step = self._turn(relative, rays, known, seen)
            self._depths = known.moved(rays.previous, step.camera.pose)
            return step
        if self._speed is None:
            step = _first(relative, seen)
        else:
            step = self._measured(relative, rays, known, seen, self._speed * interval)
        self._remember(rays, known, seen, step.camera.pose, interval)
        return step

    def _measured(
        self,
        relative: RelativePose,
        rays: TrackedRays,
        known: InverseDepths,
        seen: _Observation,
        held: float,
    ) -> ScaledStep:
        """Length from shared tracks; ``held``, by the last speed, where they are too few or contradictory."""
        rows = seen.inliers & (known.information > 0.0)
        if np.count_nonzero(rows) < _FEWEST_SHARED:
            return _held(relative, seen, held)
        shared = InverseDepths(known.ids[rows], known.inverse[rows], known.information[rows])
        found = step_length(seen.depths.inverse[rows], seen.variance[rows], shared)
        if found.length <= 0.0 or found.sigma > _HELD_RELATIVE_SIGMA * found.length:
            return _held(relative, seen, held)
        weights = np.zeros(len(rays))
        weights[rows] = found.weights
        pose = relative.T_prev_curr
        jacobian = pose_jacobian(weights, lambda other: step_depths(rays, other), pose, seen.depths)
        sigma = max(found.sigma, _LEAST_RELATIVE_SIGMA * found.length)
        return _along_direction(relative, seen, found.length, sigma, jacobian, False, "relative")

    def _turn(
        self, relative: RelativePose, rays: TrackedRays, known: InverseDepths, seen: _Observation
    ) -> ScaledStep:
        """A step whose direction the image motion does not show."""
        rows = seen.steady & (known.information > 0.0)
        if np.count_nonzero(rows) < _FEWEST_SHARED:
            sigma = self.unseen(_SIGNIFICANT_PARALLAX * seen.noise / rays.width)
            return _rotation_only(relative, seen, sigma, False, "relative (rotation only)")
        trusted = InverseDepths(known.ids, known.inverse, np.where(rows, known.information, 0.0))
        translation, covariance = translation_from_depths(
            rays, relative.T_prev_curr.rotation, relative.covariance[3:, 3:], trusted, seen.noise
        )
        camera = PoseWithCovariance(Pose(relative.T_prev_curr.rotation, translation), symmetrised(covariance))
        return ScaledStep(camera, _direction_sigma(camera), False, "relative (known depths)", seen.steady)

    def _remember(
        self, rays: TrackedRays, known: InverseDepths, seen: _Observation, pose: Pose, interval: float
    ) -> None:
        length = float(np.linalg.norm(pose.translation))
        self._speed = length / max(interval, 1e-6)
        information = np.where(seen.inliers, length**2 / seen.variance, 0.0)
        trusted = InverseDepths(known.ids, known.inverse, np.where(seen.inliers, known.information, 0.0))
        self._depths = trusted.fused(seen.depths.inverse / length, information).moved(rays.previous, pose)
        visible = self._depths.inverse[(self._depths.information > 0.0) & (self._depths.inverse > 0.0)]
        if len(visible) > 0:
            self._shift_per_unit = float(np.median(visible)) * rays.focal / rays.width


@dataclass(frozen=True, eq=False)
class _Observation:
    """What the tracks say about a pose: depths, who agrees, and whether they show a direction."""

    depths: StepDepths
    variance: Array
    noise: float
    inliers: Mask
    steady: Mask
    significant: bool


def _observe(relative: RelativePose, rays: TrackedRays) -> _Observation:
    depths = step_depths(rays, relative.T_prev_curr)
    noise = robust_sigma(depths.residual, _NOISE_FLOOR * rays.width)
    deviation = noise * depths.sensitivity
    inliers = (np.abs(depths.residual) < _INLIER * noise) & (depths.inverse > -_INLIER * deviation)
    motion = rotation_compensated_motion(rays, relative.T_prev_curr.rotation)
    limit = _SIGNIFICANT_PARALLAX * noise
    significant = len(rays) < _FEWEST_SHARED or float(np.percentile(motion, 75)) >= limit
    return _Observation(depths, deviation**2, noise, inliers, motion < 2.0 * limit, significant)


def _first(relative: RelativePose, seen: _Observation) -> ScaledStep:
    """The step that defines the unit of length."""
    return _along_direction(relative, seen, 1.0, _LEAST_RELATIVE_SIGMA, np.zeros(6), False, "relative")


def _held(relative: RelativePose, seen: _Observation, length: float) -> ScaledStep:
    """A step of a length that was not measured."""
    sigma = _HELD_RELATIVE_SIGMA * length
    return _along_direction(relative, seen, length, sigma, np.zeros(6), False, "relative (held)")


def _along_direction(
    relative: RelativePose,
    seen: _Observation,
    length: float,
    sigma: float,
    jacobian: Array,
    metric: bool,
    source: str,
) -> ScaledStep:
    """A step of given length along the estimated direction.

    Args:
        relative: pose of unit translation.
        seen: the tracks under this pose.
        length: of the step.
        sigma: standard deviation of the length for an exact pose.
        jacobian: (6,) change of the length with the pose's error.
        metric: whether the length is in metres.
        source: where it comes from.
    """
    pose = relative.T_prev_curr
    direction = pose.translation / np.linalg.norm(pose.translation)
    mapping = np.eye(6)
    mapping[:3, :3] = length * (np.eye(3) - np.outer(direction, direction))
    mapping[:3] += np.outer(direction, jacobian) @ _tangential(direction)
    covariance = mapping @ relative.covariance @ mapping.T
    covariance[:3, :3] += sigma**2 * np.outer(direction, direction)
    camera = PoseWithCovariance(Pose(pose.rotation, length * direction), symmetrised(covariance))
    return ScaledStep(camera, relative.sigma_t, metric, source, seen.inliers)


def _tangential(direction: Array) -> Array:
    """Takes the nominal error along a unit translation out of a pose's error."""
    matrix = np.eye(6)
    matrix[:3, :3] -= np.outer(direction, direction)
    return matrix


def _rotation_only(
    relative: RelativePose, seen: _Observation, sigma: float, metric: bool, source: str
) -> ScaledStep:
    """A step without translation, ``sigma`` in every direction."""
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = sigma**2 * np.eye(3)
    covariance[3:, 3:] = relative.covariance[3:, 3:]
    camera = PoseWithCovariance(Pose(relative.T_prev_curr.rotation, np.zeros(3)), covariance)
    return ScaledStep(camera, np.pi / 2.0, metric, source, seen.steady)


def _direction_sigma(camera: PoseWithCovariance) -> float:
    """Standard deviation of a translation's direction per axis, radians; pi/2 where it has none."""
    length = float(np.linalg.norm(camera.pose.translation))
    sigma = float(np.sqrt(np.trace(camera.covariance[:3, :3]) / 3.0))
    return float(np.arctan2(sigma, length)) if length > sigma else np.pi / 2.0

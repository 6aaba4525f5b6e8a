"""Where the length of a step comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import (
    InverseDepths,
    pose_jacobian,
    step_length,
    translation_from_depths,
)
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.scaled_step import (
    Length,
    ScaledStep,
    rotation_only_step,
    step_along,
    step_from_translation,
)
from iup_pose_ros.odometry.track_geometry import (
    MIN_TRACKS,
    SIGNIFICANT_PARALLAX,
    Observation,
    TrackedRays,
    observe,
    rotation_compensated_motion,
    step_depths,
)
from iup_pose_ros.odometry.wheels import WheelMotion
from iup_pose_ros.types import RelativePose

# Relative standard deviations of a length: at best, at worst of a measured one, when the last speed is held
# (the camera may have stopped, or doubled its speed), when it is configured, when the wheels measure it;
# wheels are never surer than so many metres.
_BEST = 0.01
_WORST = 0.5
_HELD = 1.0
_FIXED = 0.1
_WHEELS = 0.03
_WHEELS_MIN = 0.003
# Relative error across the direction that the wheels give.
_WHEELS_DIRECTION = 0.1
# Fraction of the image width below which motion is noise.
_MIN_SHIFT = 0.5 / 640.0
_IDENTITY = Pose.identity()


class Interval(NamedTuple):
    """Start and end of a step, seconds."""

    start: float
    end: float


class ScaleSource(Protocol):
    """Gives the steps their lengths."""

    @property
    def depths(self) -> InverseDepths:
        """Inverse depths of tracks in the latest keyframe, in 1 / unit of the trajectory."""

    def check(self, interval: Interval) -> None:
        """Raises EstimationError where no step of this interval can get a length."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """The step with its length; the interval has passed ``check``."""

    def length_of_shift(self, shift: float) -> float:
        """Length of a translation that moves the median track by ``shift``, a fraction of the image width."""


def scale_source(
    config: OdometryConfig, wheels: WheelMotion | None = None, T_base_camera: Pose = _IDENTITY
) -> ScaleSource:
    """The source that the settings name.

    Raises:
        ConfigurationError: lengths shall come from wheel odometry and there is none.
    """
    if config.scale_source == "fixed":
        return FixedScale(config)
    if config.scale_source == "odometry":
        if wheels is None:
            raise ConfigurationError("scale_source is 'odometry', but no wheel odometry is given")
        return WheelScale(config, wheels, T_base_camera)
    return RelativeScale(config)


class FixedScale:
    """Every step has the configured length in metres."""

    def __init__(self, config: OdometryConfig) -> None:
        self._length = config.fixed_step_length
        self._keyframe_parallax = config.keyframe_parallax
        self.depths = InverseDepths.none()

    def check(self, interval: Interval) -> None:
        """See ScaleSource.check; the length is always known."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step; without parallax a step is zero, plus or minus its length."""
        seen = observe(rays, relative.T_prev_curr)
        if not seen.shows_direction:
            zero = Length(0.0, self._length, "fixed (rotation only)", metric=True)
            return rotation_only_step(relative, zero, seen.steady)
        length = Length(self._length, _FIXED * self._length, "fixed", metric=True)
        return step_along(relative, length, seen.agreeing)

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.unseen; a step makes about the keyframe parallax."""
        return self._length * shift / self._keyframe_parallax


class WheelScale:
    """Lengths in metres from wheel odometry; direction and rotation stay those of the images.

    Args:
        config: settings.
        wheels: motion of the base.
        T_base_camera: extrinsics of the camera, metres: turning, it moves otherwise than the base.
    """

    def __init__(self, config: OdometryConfig, wheels: WheelMotion, T_base_camera: Pose) -> None:
        self._wheels = wheels
        self._T_base_camera = T_base_camera
        # More than most robots make per keyframe: at first rather too much is taken to be unseen.
        self._metres_per_shift = 1.0 / config.keyframe_parallax
        self.depths = InverseDepths.none()

    def check(self, interval: Interval) -> None:
        """See ScaleSource.check; fails where the wheels do not cover the interval."""
        self._wheels.between(*interval)

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step; where the images do not show the direction, it is that of the wheels, too."""
        seen = observe(rays, relative.T_prev_curr)
        translation = self._camera_translation(relative, interval)
        value = float(np.linalg.norm(translation))
        sigma = max(_WHEELS_MIN, _WHEELS * value)
        if value <= sigma or not seen.shows_direction:
            covariance = np.zeros((6, 6))
            covariance[:3, :3] = max(_WHEELS_MIN, _WHEELS_DIRECTION * value) ** 2 * np.eye(3)
            covariance[3:, 3:] = relative.covariance[3:, 3:]
            source = "odometry (direction of the wheels)"
            return step_from_translation(relative, translation, covariance, source, seen.steady, metric=True)
        motion = rotation_compensated_motion(rays, relative.T_prev_curr.rotation)
        if len(motion) > 0:
            self._metres_per_shift = value / max(float(np.median(motion)) / rays.width, _MIN_SHIFT)
        return step_along(relative, Length(value, sigma, "odometry", metric=True), seen.agreeing)

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.unseen; by the last step."""
        return shift * self._metres_per_shift

    def _camera_translation(self, relative: RelativePose, interval: Interval) -> Array:
        """Translation (3,) of T_prev_curr: the base's by the wheels, its turn by the images."""
        extrinsics = self._T_base_camera
        R_base = extrinsics.rotation @ relative.T_prev_curr.rotation @ extrinsics.rotation.T
        base = self._wheels.between(*interval).translation
        return extrinsics.rotation.T @ (base + R_base @ extrinsics.translation - extrinsics.translation)


class RelativeScale:
    """The first step has length 1; later ones follow from tracks shared by consecutive pairs of keyframes."""

    def __init__(self, config: OdometryConfig) -> None:
        self.depths = InverseDepths.none()
        self._speed: float | None = None
        # Relative deviation of the unit of length since the first step: depths inherit that of a held length.
        self._unit_sigma = 0.0
        # How far a translation of one unit moves the median track, as a fraction of the image width. The
        # first step has length 1 and makes at least the keyframe parallax.
        self._shift_per_unit = config.keyframe_parallax

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.unseen."""
        return shift / self._shift_per_unit

    def check(self, interval: Interval) -> None:
        """See ScaleSource.check; a length is measured or held."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step."""
        duration = interval.end - interval.start
        seen = observe(rays, relative.T_prev_curr)
        known = self.depths.of(rays.ids)
        if seen.shows_direction:
            length = self._length(relative, rays, known, seen, duration)
            step = step_along(relative, length, seen.agreeing)
            self._learn(rays, known, seen, step.camera.pose, duration)
        else:
            step = self._turn(relative, rays, known, seen)
            self.depths = known.moved(rays.previous, step.camera.pose)
        return step

    def _length(
        self,
        relative: RelativePose,
        rays: TrackedRays,
        known: InverseDepths,
        seen: Observation,
        duration: float,
    ) -> Length:
        """One for the first step, then by the tracks or, where they do not tell, by the last speed."""
        if self._speed is None:
            return Length(1.0, _BEST, "relative")
        measured = _measured_length(relative.T_prev_curr, rays, known, seen)
        if measured is not None:
            sigma = float(np.hypot(measured.sigma, self._unit_sigma * measured.value))
            return replace(measured, sigma=sigma)
        self._unit_sigma = float(np.hypot(self._unit_sigma, _HELD))
        held = self._speed * duration
        return Length(held, self._unit_sigma * held, "relative (held)")

    def _turn(
        self, relative: RelativePose, rays: TrackedRays, known: InverseDepths, seen: Observation
    ) -> ScaledStep:
        """A step whose direction the image motion does not show, though known depths still may."""
        rows = seen.steady & (known.information > 0.0)
        if np.count_nonzero(rows) < MIN_TRACKS:
            sigma = self.length_of_shift(SIGNIFICANT_PARALLAX * seen.noise / rays.width)
            return rotation_only_step(relative, Length(0.0, sigma, "relative (rotation only)"), seen.steady)
        translation, covariance = translation_from_depths(
            rays,
            relative.T_prev_curr.rotation,
            relative.covariance[3:, 3:],
            known.trusted(rows),
            seen.noise,
        )
        covariance[:3, :3] += self._unit_sigma**2 * np.outer(translation, translation)
        source = "relative (known depths)"
        return step_from_translation(relative, translation, covariance, source, seen.steady)

    def _learn(
        self, rays: TrackedRays, known: InverseDepths, seen: Observation, pose: Pose, duration: float
    ) -> None:
        """Takes the depths and the speed that a step of known length shows."""
        length = float(np.linalg.norm(pose.translation))
        self._speed = length / duration
        information = np.where(seen.agreeing, length**2 / seen.variance, 0.0)
        fused = known.trusted(seen.agreeing).fused(seen.depths.inverse / length, information)
        self.depths = fused.moved(rays.previous, pose)
        visible = self.depths.inverse[(self.depths.information > 0.0) & (self.depths.inverse > 0.0)]
        if len(visible) > 0:
            self._shift_per_unit = float(np.median(visible)) * rays.focal / rays.width


def _measured_length(
    T_prev_curr: Pose, rays: TrackedRays, known: InverseDepths, seen: Observation
) -> Length | None:
    """Length by tracks of known depth; None where they are too few or contradictory."""
    rows = seen.agreeing & (known.information > 0.0)
    if np.count_nonzero(rows) < MIN_TRACKS:
        return None
    found = step_length(seen.depths.inverse[rows], seen.variance[rows], known.rows(rows))
    # Written so that a length that is no number fails, too.
    if not found.sigma <= _WORST * found.length:
        return None
    weights = np.zeros(len(rays))
    weights[rows] = found.weights
    jacobian = pose_jacobian(weights, lambda pose: step_depths(rays, pose), T_prev_curr, seen.depths)
    return Length(found.length, max(found.sigma, _BEST * found.length), "relative", jacobian=jacobian)

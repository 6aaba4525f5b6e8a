"""Scale: the sources of a step's length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import (
    InverseDepths,
    depths_after_step,
    pose_jacobian,
    step_length,
    translation_from_depths,
)
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.scaled_step import (
    HELD_LENGTH,
    Interval,
    Length,
    ScaledStep,
    metric_step,
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

# Relative standard deviations of a length: minimum, maximum of a measured one, when the median depth of the
# scene or the last speed is assumed unchanged, when it is configured, when measured by wheel odometry;
# minimum standard deviation of wheel odometry in metres.
_BEST = 0.01
_WORST = 0.5
_HELD = 1.0
_FIXED = 0.1
_WHEELS = 0.03
_WHEELS_MIN = 0.003
# Relative standard deviation across the direction given by wheel odometry.
_WHEELS_DIRECTION = 0.1
# Minimum number of tracks of known depth that measure a length.
_MIN_SHARED = 5
# Fraction of the image width below which motion is noise.
_MIN_SHIFT = 0.5 / 640.0


class ScaleSource(ABC):
    """A source of scale, with the depths of the tracks.

    Attributes:
        depths: inverse depths of tracks in the latest keyframe, in 1 / unit of the trajectory.
        warning: why lengths are less certain than this source should make them, one sentence; else empty.
    """

    def __init__(self) -> None:
        self.depths = InverseDepths.none()
        self.warning = ""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """Return the scaled step, which must have passed ``check``, and update the depths."""
        if relative.metric:
            step = metric_step(relative, np.ones(len(rays), dtype=np.bool_))
        else:
            step = self._scaled(relative, rays, interval)
        self.depths, factor = depths_after_step(self.depths.of(rays.ids), rays, step)
        return replace(step, unit=factor)

    def typical_inverse_depth(self, rays: TrackedRays) -> float:
        """Return the inverse depth of a track about which nothing is known, in 1 / unit of the trajectory."""
        return rays.width / rays.focal / self.length_of_shift(1.0)

    @abstractmethod
    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """Raise EstimationError if the length of this step cannot be determined."""

    @abstractmethod
    def length_of_shift(self, shift: float) -> float:
        """Return the length that moves the median track by ``shift``, a fraction of the image width."""

    @abstractmethod
    def _scaled(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """Return the step of a relative pose without length."""


class FixedScale(ScaleSource):
    """Every step has the configured length in metres."""

    def __init__(self, config: OdometryConfig) -> None:
        super().__init__()
        self._length = config.fixed_step_length
        self._keyframe_parallax = config.keyframe_parallax

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; the length is always known."""

    def _scaled(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource._scaled; without parallax the step is zero with its length as deviation."""
        seen = observe(rays, relative.T_prev_curr)
        if not seen.shows_direction:
            zero = Length(0.0, self._length, "fixed (rotation only)", metric=True)
            return rotation_only_step(relative, zero, seen.steady)
        length = Length(self._length, _FIXED * self._length, "fixed", metric=True)
        return step_along(relative, length, seen.agreeing)

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.length_of_shift; a step is assumed to have the keyframe parallax."""
        return self._length * shift / self._keyframe_parallax


class WheelScale(ScaleSource):
    """Lengths in metres from wheel odometry; direction and rotation are those of the images.

    Args:
        config: settings.
        wheels: motion of the base.
        T_base_camera: extrinsics of the camera, metres, for its lever arm.
    """

    def __init__(self, config: OdometryConfig, wheels: WheelMotion, T_base_camera: Pose) -> None:
        super().__init__()
        self._wheels = wheels
        self._T_base_camera = T_base_camera
        # One metre per keyframe parallax, more than most robots move: conservative until the first step.
        self._metres_per_shift = 1.0 / config.keyframe_parallax

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; fails if wheel odometry does not cover the interval."""
        self._wheels.between(*interval)

    def _scaled(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource._scaled; if the images do not show the direction, it is that of wheel odometry."""
        seen = observe(rays, relative.T_prev_curr)
        # Translation of T_prev_curr: that of the base by wheel odometry, its rotation by the images.
        extrinsics = self._T_base_camera
        R_base = extrinsics.rotation @ relative.T_prev_curr.rotation @ extrinsics.rotation.T
        base = self._wheels.between(*interval).translation
        lever_arm = R_base @ extrinsics.translation - extrinsics.translation
        translation = extrinsics.rotation.T @ (base + lever_arm)
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
        """See ScaleSource.length_of_shift; from the last step."""
        return shift * self._metres_per_shift


class RelativeScale(ScaleSource):
    """First step of length 1; later lengths follow from tracks shared by consecutive pairs of keyframes."""

    def __init__(self, config: OdometryConfig, name: str = "relative") -> None:
        super().__init__()
        self._name = name
        self._speed: float | None = None
        # Relative standard deviation of the unit of length; grows when a length is held, not measured.
        self._unit_sigma = 0.0
        # Motion of the median track by a translation of one unit, as a fraction of the image width. The
        # first step has length 1 and at least the keyframe parallax.
        self._shift_per_unit = config.keyframe_parallax

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.length_of_shift."""
        return shift / self._shift_per_unit

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; never fails, as the length is measured or held."""

    def _scaled(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource._scaled."""
        seen = observe(rays, relative.T_prev_curr)
        if not seen.shows_direction:
            return self._turn(relative, rays, seen)
        length = self._length(relative, rays, seen, interval)
        self._speed = length.value / (interval.end - interval.start)
        inverse = _median_inverse_depth(seen)
        if inverse is not None:
            self._shift_per_unit = inverse / length.value * rays.focal / rays.width
        return step_along(relative, length, seen.agreeing)

    def _length(
        self, relative: RelativePose, rays: TrackedRays, seen: Observation, interval: Interval
    ) -> Length:
        """Return 1 for the first step, then the length by shared tracks.

        Without them, the length is that for which the median depth of the scene stays as it was, or without
        any tracks that of the last speed.
        """
        if self._speed is None:
            return Length(1.0, _BEST, self._name)
        measured = self._shared_length(relative.T_prev_curr, rays, seen)
        if measured is not None:
            sigma = float(np.hypot(measured.sigma, self._unit_sigma * measured.value))
            return replace(measured, sigma=sigma)
        self._unit_sigma = float(np.hypot(self._unit_sigma, _HELD))
        inverse = _median_inverse_depth(seen)
        if inverse is None:
            held = self._speed * (interval.end - interval.start)
        else:
            held = inverse / self.typical_inverse_depth(rays)
        return Length(held, self._unit_sigma * held, f"{self._name} {HELD_LENGTH}")

    def _shared_length(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation) -> Length | None:
        """Return the length by tracks of known depth; None if they are too few or inconsistent."""
        known = self.depths.of(rays.ids)
        rows = seen.agreeing & (known.information > 0.0)
        if np.count_nonzero(rows) < _MIN_SHARED:
            return None
        found = step_length(seen.depths.inverse[rows], seen.variance[rows], known.rows(rows))
        # Written so that NaN fails, too.
        if not found.sigma <= _WORST * found.length:
            return None
        weights = np.zeros(len(rays))
        weights[rows] = found.weights
        jacobian = pose_jacobian(weights, lambda pose: step_depths(rays, pose), T_prev_curr, seen.depths)
        return Length(found.length, max(found.sigma, _BEST * found.length), self._name, jacobian=jacobian)

    def _turn(self, relative: RelativePose, rays: TrackedRays, seen: Observation) -> ScaledStep:
        """Return a step without significant parallax: from known depths, or else the rotation only."""
        known = self.depths.of(rays.ids)
        rows = seen.steady & (known.information > 0.0)
        if np.count_nonzero(rows) < MIN_TRACKS:
            sigma = self.length_of_shift(SIGNIFICANT_PARALLAX * seen.noise / rays.width)
            zero = Length(0.0, sigma, f"{self._name} (rotation only)")
            return rotation_only_step(relative, zero, seen.steady)
        translation, covariance = translation_from_depths(
            rays,
            relative.T_prev_curr.rotation,
            relative.covariance[3:, 3:],
            known.trusted(rows),
            seen.noise,
        )
        covariance[:3, :3] += self._unit_sigma**2 * np.outer(translation, translation)
        source = f"{self._name} (known depths)"
        return step_from_translation(relative, translation, covariance, source, seen.steady)


def _median_inverse_depth(seen: Observation) -> float | None:
    """Return the median inverse depth, in steps, of the tracks that agree with a pose; None without any."""
    inverse = seen.depths.inverse[seen.agreeing & (seen.depths.inverse > 0.0)]
    return float(np.median(inverse)) if len(inverse) > 0 else None

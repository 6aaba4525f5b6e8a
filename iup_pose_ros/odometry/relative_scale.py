"""Scale by tracks that consecutive keyframe pairs share, alone or corrected by lengths in metres."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import InverseDepths, pose_jacobian, step_length, translation_from_depths
from iup_pose_ros.odometry.length_meters import LengthMeter
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.scaled_step import (
    Interval,
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
    step_depths,
)
from iup_pose_ros.types import RelativePose

# Relative standard deviations of a length: minimum, maximum of a measured one, and when the last speed is
# held (the camera may have stopped, or doubled its speed).
_BEST = 0.01
_WORST = 0.5
_HELD = 1.0
# A length in metres that differs from the one by shared tracks by more standard deviations is not used.
_GATE = 5.0


class RelativeScale:
    """First step of length 1; later lengths follow from tracks shared by consecutive pairs of keyframes."""

    def __init__(self, config: OdometryConfig, name: str = "relative") -> None:
        self.depths = InverseDepths.none()
        self._name = name
        self._speed: float | None = None
        # Relative standard deviation of the unit of length; grows when a length is held, not measured.
        self._unit_sigma = 0.0
        # Motion of the median track by a translation of one unit, as a fraction of the image width. The
        # first step has length 1 and at least the keyframe parallax.
        self._shift_per_unit = config.keyframe_parallax

    @property
    def warning(self) -> str:
        """See ScaleSource.warning; a relative length never lacks anything."""
        return ""

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.length_of_shift."""
        return shift / self._shift_per_unit

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; never fails, as the length is measured or held."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step."""
        seen = observe(rays, relative.T_prev_curr)
        if seen.shows_direction:
            length = self._length(relative, rays, seen, interval)
            step = step_along(relative, length, seen.agreeing)
            self._learn(rays, seen, step.camera.pose, interval)
        else:
            step = self._turn(relative, rays, seen, interval)
            self.depths = self.depths.of(rays.ids).moved(rays.previous, step.camera.pose)
        return step

    def _length(
        self, relative: RelativePose, rays: TrackedRays, seen: Observation, interval: Interval
    ) -> Length:
        """Return 1 for the first step, then the length by the tracks or else by the last speed."""
        if self._speed is None:
            return Length(1.0, _BEST, self._name)
        measured = self._shared_length(relative.T_prev_curr, rays, seen)
        if measured is not None:
            sigma = float(np.hypot(measured.sigma, self._unit_sigma * measured.value))
            return replace(measured, sigma=sigma)
        self._unit_sigma = float(np.hypot(self._unit_sigma, _HELD))
        held = self._speed * (interval.end - interval.start)
        return Length(held, self._unit_sigma * held, f"{self._name} (held)")

    def _shared_length(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation) -> Length | None:
        """Return the length by tracks of known depth; None if they are too few or inconsistent."""
        known = self.depths.of(rays.ids)
        rows = seen.agreeing & (known.information > 0.0)
        if np.count_nonzero(rows) < MIN_TRACKS:
            return None
        found = step_length(seen.depths.inverse[rows], seen.variance[rows], known.rows(rows))
        # Written so that NaN fails, too.
        if not found.sigma <= _WORST * found.length:
            return None
        weights = np.zeros(len(rays))
        weights[rows] = found.weights
        jacobian = pose_jacobian(weights, lambda pose: step_depths(rays, pose), T_prev_curr, seen.depths)
        return Length(found.length, max(found.sigma, _BEST * found.length), self._name, jacobian=jacobian)

    def _turn(
        self, relative: RelativePose, rays: TrackedRays, seen: Observation, interval: Interval
    ) -> ScaledStep:
        """Return a step without significant parallax: from known depths, or else the rotation only."""
        metric = self._is_metric(interval)
        known = self.depths.of(rays.ids)
        rows = seen.steady & (known.information > 0.0)
        if np.count_nonzero(rows) < MIN_TRACKS:
            sigma = self.length_of_shift(SIGNIFICANT_PARALLAX * seen.noise / rays.width)
            zero = Length(0.0, sigma, f"{self._name} (rotation only)", metric)
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
        return step_from_translation(relative, translation, covariance, source, seen.steady, metric)

    def _is_metric(self, interval: Interval) -> bool:
        """Return whether lengths at the end of an interval are metres."""
        return False

    def _learn(self, rays: TrackedRays, seen: Observation, pose: Pose, interval: Interval) -> None:
        """Update depths and speed by a scaled step."""
        length = float(np.linalg.norm(pose.translation))
        self._speed = length / (interval.end - interval.start)
        information = np.where(seen.agreeing, length**2 / seen.variance, 0.0)
        known = self.depths.of(rays.ids).trusted(seen.agreeing)
        self.depths = known.fused(seen.depths.inverse / length, information).moved(rays.previous, pose)
        visible = self.depths.inverse[(self.depths.information > 0.0) & (self.depths.inverse > 0.0)]
        if len(visible) > 0:
            self._shift_per_unit = float(np.median(visible)) * rays.focal / rays.width


class MetricScale(RelativeScale):
    """Lengths by shared tracks as of RelativeScale, corrected by lengths that a meter measures in metres.

    A Kalman filter of one state, the logarithm of the unit of length: its relative standard deviation grows
    with every length by shared tracks and shrinks with every measured one. No step is scaled before the
    first measured length.

    Args:
        config: settings.
        meter: measures lengths in metres.
    """

    def __init__(self, config: OdometryConfig, meter: LengthMeter) -> None:
        super().__init__(config, meter.name)
        self._meter = meter
        self._timeout = config.scale_timeout
        self._measured_at: float | None = None
        self._warning = ""

    @property
    def warning(self) -> str:
        """See ScaleSource.warning; that no length was measured within ``scale_timeout``, and why."""
        return self._warning

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; fails before the first measured length."""
        seen = observe(rays, relative.T_prev_curr)
        if self._measured_at is None and seen.shows_direction:
            self._meter.measure(relative.T_prev_curr, rays, seen, interval.start)

    def _length(
        self, relative: RelativePose, rays: TrackedRays, seen: Observation, interval: Interval
    ) -> Length:
        """Return the length by shared tracks, corrected by the measured one if there is one."""
        carried = super()._length(relative, rays, seen, interval)
        self._unit_sigma = carried.sigma / carried.value
        try:
            measured = self._meter.measure(relative.T_prev_curr, rays, seen, interval.start)
            length = measured if self._measured_at is None else self._fused(carried, measured)
        except EstimationError as error:
            return self._carried_on(carried, str(error), interval)
        self._measured_at, self._warning = interval.end, ""
        self._unit_sigma = length.sigma / length.value
        self.depths = self.depths.rescaled(length.value / carried.value)
        return length

    def _fused(self, carried: Length, measured: Length) -> Length:
        """Return the mean of two lengths, weighted by their relative variances.

        Raises:
            EstimationError: they contradict each other. The unit's deviation then grows by the difference,
                so that a lasting difference is accepted.
        """
        difference = math.log(measured.value / carried.value)
        variance, other = (carried.sigma / carried.value) ** 2, (measured.sigma / measured.value) ** 2
        if abs(difference) > _GATE * math.sqrt(variance + other):
            self._unit_sigma = math.hypot(self._unit_sigma, difference / 2.0)
            raise EstimationError(
                f"the measured length is {measured.value:.3g} m, {measured.value / carried.value:.2f} times "
                "that by shared tracks"
            )
        gain = variance / (variance + other)
        value = carried.value * math.exp(gain * difference)
        sigma = value * math.sqrt(variance * other / (variance + other))
        jacobian = value * (
            (1.0 - gain) * carried.jacobian / carried.value + gain * measured.jacobian / measured.value
        )
        return Length(value, sigma, self._name, metric=True, jacobian=jacobian)

    def _carried_on(self, carried: Length, reason: str, interval: Interval) -> Length:
        """Return the length by shared tracks or speed where none was measured."""
        metric = self._is_metric(interval)
        if not metric and self._measured_at is not None:
            seconds = interval.end - self._measured_at
            self._warning = (
                f"no length in metres was measured for {seconds:.1f} s, scale carried on: {reason}"
            )
        source = carried.source if carried.source != self._name else f"{self._name} (carried on)"
        sigma = self._unit_sigma * carried.value
        return replace(carried, sigma=sigma, source=source, metric=metric)

    def _is_metric(self, interval: Interval) -> bool:
        """Return whether a length was measured within ``scale_timeout`` before the end of an interval."""
        return self._measured_at is not None and interval.end - self._measured_at <= self._timeout

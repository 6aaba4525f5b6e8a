"""Scale in metres: lengths by tracks that keyframes share, corrected by measured lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.length_meters import DepthMeter, GroundMeter, LengthMeter, RangeMeter
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.scale import FixedScale, RelativeScale, ScaleSource, WheelScale
from iup_pose_ros.odometry.scaled_step import CARRIED_LENGTH, Interval, Length, ScaledStep
from iup_pose_ros.odometry.scene_sensors import DepthImages, RangeReadings
from iup_pose_ros.odometry.track_geometry import Observation, TrackedRays, observe
from iup_pose_ros.odometry.wheels import WheelMotion
from iup_pose_ros.types import RelativePose

# A length in metres that differs from the one by shared tracks by more standard deviations is not used.
_GATE = 5.0
_IDENTITY = Pose.identity()


@dataclass(frozen=True)
class MetricSensors:
    """What lengths in metres are measured with; None where there is no such sensor."""

    wheels: WheelMotion | None = None
    depth: DepthImages | None = None
    ranges: RangeReadings | None = None


_NO_SENSORS = MetricSensors()


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

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; fails before the first measured length."""
        seen = observe(rays, relative.T_prev_curr)
        if self._measured_at is None and seen.shows_direction:
            self._meter.measure(relative.T_prev_curr, rays, seen, interval)

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step; metric if a length was measured within ``scale_timeout`` before its end."""
        step = super().step(relative, rays, interval)
        is_recent = self._measured_at is not None and interval.end - self._measured_at <= self._timeout
        return replace(step, metric=step.metric or is_recent)

    def _length(
        self, relative: RelativePose, rays: TrackedRays, seen: Observation, interval: Interval
    ) -> Length:
        """Return the length of RelativeScale, corrected by the measured one if there is one."""
        carried = super()._length(relative, rays, seen, interval)
        self._unit_sigma = carried.sigma / carried.value
        try:
            measured = self._meter.measure(relative.T_prev_curr, rays, seen, interval)
            length = measured if self._measured_at is None else self._fused(carried, measured)
        except EstimationError as error:
            age = 0.0 if self._measured_at is None else interval.end - self._measured_at
            if age > self._timeout:
                self.warning = f"no length in metres was measured for {age:.1f} s, scale carried on: {error}"
            source = carried.source if carried.source != self._name else f"{self._name} {CARRIED_LENGTH}"
            return replace(carried, sigma=self._unit_sigma * carried.value, source=source)
        self._measured_at, self.warning = interval.end, ""
        self._unit_sigma = length.sigma / length.value
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


def scale_source(
    config: OdometryConfig, sensors: MetricSensors = _NO_SENSORS, T_base_camera: Pose = _IDENTITY
) -> ScaleSource:
    """Return the scale source that the settings name.

    Raises:
        ConfigurationError: the sensor that ``scale_source`` requires is missing.
    """
    source = config.scale_source
    if source == "fixed":
        return FixedScale(config)
    if source == "odometry" and sensors.wheels is not None:
        return WheelScale(config, sensors.wheels, T_base_camera)
    if source == "depth" and sensors.depth is not None:
        return MetricScale(config, DepthMeter(sensors.depth))
    if source == "range" and sensors.ranges is not None:
        return MetricScale(config, RangeMeter(sensors.ranges, T_base_camera))
    if source == "camera_height":
        return MetricScale(config, GroundMeter(config.camera_height, T_base_camera))
    if source == "relative":
        return RelativeScale(config)
    needed = {"odometry": "wheel odometry", "depth": "depth image", "range": "range sensor"}[source]
    raise ConfigurationError(f"scale_source is {source!r}, but no {needed} is given")

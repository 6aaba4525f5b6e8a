"""Scale: the sources of a step's length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.length_meters import DepthMeter, GroundMeter, RangeMeter
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.relative_scale import MetricScale, RelativeScale
from iup_pose_ros.odometry.scaled_step import (
    Interval,
    Length,
    ScaledStep,
    rotation_only_step,
    step_along,
    step_from_translation,
)
from iup_pose_ros.odometry.scene_sensors import DepthImages, RangeReadings
from iup_pose_ros.odometry.track_geometry import TrackedRays, observe, rotation_compensated_motion
from iup_pose_ros.odometry.wheels import WheelMotion
from iup_pose_ros.types import RelativePose

# Relative standard deviations of a length: when it is configured, when measured by wheel odometry; minimum
# standard deviation of wheel odometry in metres.
_FIXED = 0.1
_WHEELS = 0.03
_WHEELS_MIN = 0.003
# Relative standard deviation across the direction given by wheel odometry.
_WHEELS_DIRECTION = 0.1
# Fraction of the image width below which motion is noise.
_MIN_SHIFT = 0.5 / 640.0
_IDENTITY = Pose.identity()


@dataclass(frozen=True)
class MetricSensors:
    """What lengths in metres are measured with; None where there is no such sensor."""

    wheels: WheelMotion | None = None
    depth: DepthImages | None = None
    ranges: RangeReadings | None = None


_NO_SENSORS = MetricSensors()


class ScaleSource(Protocol):
    """Interface of the sources of scale."""

    @property
    def depths(self) -> InverseDepths:
        """Inverse depths of tracks in the latest keyframe, in 1 / unit of the trajectory."""

    @property
    def warning(self) -> str:
        """Why lengths are less certain than the source should make them, one sentence; else empty."""

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """Raise EstimationError if the length of this step cannot be determined."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """Return the scaled step, which must have passed ``check``."""

    def length_of_shift(self, shift: float) -> float:
        """Return the length that moves the median track by ``shift``, a fraction of the image width."""


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


class FixedScale:
    """Every step has the configured length in metres."""

    def __init__(self, config: OdometryConfig) -> None:
        self._length = config.fixed_step_length
        self._keyframe_parallax = config.keyframe_parallax
        self.depths = InverseDepths.none()
        self.warning = ""

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; the length is always known."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step; without parallax the step is zero with its length as standard deviation."""
        seen = observe(rays, relative.T_prev_curr)
        if not seen.shows_direction:
            zero = Length(0.0, self._length, "fixed (rotation only)", metric=True)
            return rotation_only_step(relative, zero, seen.steady)
        length = Length(self._length, _FIXED * self._length, "fixed", metric=True)
        return step_along(relative, length, seen.agreeing)

    def length_of_shift(self, shift: float) -> float:
        """See ScaleSource.length_of_shift; a step is assumed to have the keyframe parallax."""
        return self._length * shift / self._keyframe_parallax


class WheelScale:
    """Lengths in metres from wheel odometry; direction and rotation are those of the images.

    Args:
        config: settings.
        wheels: motion of the base.
        T_base_camera: extrinsics of the camera, metres, for its lever arm.
    """

    def __init__(self, config: OdometryConfig, wheels: WheelMotion, T_base_camera: Pose) -> None:
        self._wheels = wheels
        self._T_base_camera = T_base_camera
        # One metre per keyframe parallax, more than most robots move: conservative until the first step.
        self._metres_per_shift = 1.0 / config.keyframe_parallax
        self.depths = InverseDepths.none()
        self.warning = ""

    def check(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> None:
        """See ScaleSource.check; fails if wheel odometry does not cover the interval."""
        self._wheels.between(*interval)

    def step(self, relative: RelativePose, rays: TrackedRays, interval: Interval) -> ScaledStep:
        """See ScaleSource.step; if the images do not show the direction, it is that of wheel odometry."""
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

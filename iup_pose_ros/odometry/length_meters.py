"""Measurement of a step's length in metres: by depth images, a range sensor, or the camera's height.

Tracks give each depth in units of the step (mu = step length / depth, track_geometry.py). Every meter
compares them with depths in metres and returns the length with its standard deviation; if that is not
possible, its error gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import InverseDepths, pose_jacobian, step_length
from iup_pose_ros.odometry.plane_fit import CERTAIN, DEVIATIONS, MIN_AGREEING, fit_plane, ground_rows
from iup_pose_ros.odometry.scaled_step import Interval, Length
from iup_pose_ros.odometry.scene_sensors import DepthImages, RangeReadings
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS, Observation, TrackedRays, step_depths

# Relative standard deviations of a length: minimum by each meter, which covers the calibration of the sensor
# and the mount; maximum of a usable one.
_DEPTH_BEST = 0.015
_RANGE_BEST = 0.02
_GROUND_BEST = 0.03
_WORST = 0.3
# Assumed noise of depth images: this share of the squared depth per metre, and this share of the depth.
_DEPTH_NOISE = 0.01
# A track agrees with a length within three standard deviations or this share of it.
_TOLERANCE = 0.1
# Radians: minimum radius of the image region around the point that a range sensor measures; maximum number
# of tracks that are used, the nearest ones.
_RADIUS = 0.25
_NEAREST = 30
# Minimum share of these tracks that lie on one surface; otherwise the beam may hit an object in front.
_ONE_SURFACE = 0.8
# Radians: a point of the ground is seen at least this much below the horizon; deviation of the base's z axis
# from the ground's normal (suspension, mount); maximum inclination of a plane that is taken for the ground.
_BELOW_HORIZON = 0.12
_TILT = 0.025
_MAX_TILT = 0.09
# Radians: the inclination of a surface to the image plane, where nothing is known about it.
_ANY_TILT = 1.0
# Minimum ratio of a point's depths in the current and in the previous frame.
_MIN_DEPTH_RATIO = 0.05

Measurement = TypeVar("Measurement")


class LengthMeter(Protocol):
    """Interface of the measurements of a step's length."""

    @property
    def name(self) -> str:
        """Name of the source of scale."""

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, interval: Interval) -> Length:
        """Return the length of a step in metres.

        Args:
            T_prev_curr: pose of unit translation.
            rays: N tracks.
            seen: agreement of the tracks with the pose.
            interval: times of the two frames, seconds.

        Raises:
            EstimationError: the length cannot be measured; the message says why.
        """


@dataclass(frozen=True)
class DepthMeter:
    """Length from the depths of tracks in a depth image of the previous keyframe."""

    images: DepthImages
    name: str = "depth"

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, interval: Interval) -> Length:
        """See LengthMeter.measure."""
        image, view = _viewed(self.images.at, T_prev_curr, rays, seen, interval)
        depth, missing = image.along(view.points)
        usable = seen.agreeing & np.isfinite(depth)
        if np.count_nonzero(usable) < MIN_TRACKS:
            raise EstimationError(
                f"only {np.count_nonzero(usable)} of {len(rays)} tracks have a depth in the depth image: "
                f"{missing}"
            )
        inverse = 1.0 / depth[usable]
        sigma = _DEPTH_NOISE * (1.0 + inverse)
        known = InverseDepths.independent(rays.ids[usable], inverse, 1.0 / sigma**2)
        mu, variance = view.mu[usable], view.variance[usable]
        found = step_length(mu, variance, known)
        # Of the tracks whose depth is certain, most must agree with the length.
        expected, size = found.length * inverse, np.abs(found.length) * inverse
        certain = np.sqrt(variance) < CERTAIN * size
        noise = np.sqrt(variance + (found.length * sigma) ** 2)
        agrees = np.abs(mu - expected) < np.maximum(DEVIATIONS * noise, _TOLERANCE * size)
        share = float(np.mean(agrees[certain])) if np.any(certain) else 0.0
        if share < MIN_AGREEING:
            raise EstimationError(
                f"only {share:.0%} of the tracks agree with the depth image on the length of the step: it is "
                "not registered to this camera or not of this image, or the scene moves"
            )
        weights = found.weights * view.slope[usable]
        return _length(found.length, found.sigma, weights, usable, T_prev_curr, rays, seen, self.name)


@dataclass(frozen=True)
class RangeMeter:
    """Length from the depth of tracks around the point that a range sensor measures.

    Attributes:
        readings: the sensor's measurements.
        T_base_camera: extrinsics of the camera.
    """

    readings: RangeReadings
    T_base_camera: Pose
    name: str = "range"

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, interval: Interval) -> Length:
        """See LengthMeter.measure; the surface around the point is taken for a plane."""
        reading, view = _viewed(self.readings.at, T_prev_curr, rays, seen, interval)
        hit = self.T_base_camera.inverse().apply(reading.point)
        if hit[2] <= 0.0:
            raise EstimationError("the range sensor measures a point behind the camera")
        ray = hit / hit[2]
        distance = np.linalg.norm(view.points - ray, axis=1) / np.linalg.norm(ray)
        distance[~seen.agreeing] = np.inf
        rows = distance < max(_RADIUS, 0.5 * reading.field_of_view)
        if np.count_nonzero(rows) > _NEAREST:
            rows = distance <= np.partition(distance, _NEAREST)[_NEAREST]
        if np.count_nonzero(rows) < MIN_TRACKS:
            raise EstimationError(
                f"only {np.count_nonzero(rows)} tracks lie around the point that the range sensor measures, "
                f"{MIN_TRACKS} are required: it lies outside of the image or on a surface without texture"
            )
        axis = ray / np.linalg.norm(ray)
        plane = fit_plane(view.points[rows], view.mu[rows], view.variance[rows], axis, _ANY_TILT)
        if plane.agreeing < _ONE_SURFACE:
            raise EstimationError(
                f"only {plane.agreeing:.0%} of the tracks around the point that the range sensor measures "
                "lie on one surface"
            )
        length = float(plane.normal @ hit)
        sigma = float(np.sqrt(hit @ plane.covariance @ hit + (length * reading.relative_sigma) ** 2))
        weights = hit @ plane.weights * view.slope[rows]
        return _length(length, sigma, weights, rows, T_prev_curr, rays, seen, self.name, _RANGE_BEST)


@dataclass(frozen=True)
class GroundMeter:
    """Length from the camera's height over a plane ground.

    Attributes:
        height: of the camera over the ground, metres.
        T_base_camera: extrinsics of the camera; the base's -z axis points to the ground.
    """

    height: float
    T_base_camera: Pose
    name: str = "camera_height"

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, interval: Interval) -> Length:
        """See LengthMeter.measure."""
        down = -self.T_base_camera.rotation[2]
        below = rays.previous @ down / np.linalg.norm(rays.previous, axis=1) > np.sin(_BELOW_HORIZON)
        rows = seen.agreeing & below
        if np.count_nonzero(rows) < MIN_TRACKS:
            raise EstimationError(
                f"only {np.count_nonzero(rows)} tracks lie below the horizon, {MIN_TRACKS} are required to "
                "find the ground"
            )
        points, mu, variance = rays.previous[rows], seen.depths.inverse[rows], seen.variance[rows]
        ground = ground_rows(points, mu, variance, down)
        if ground is None:
            raise EstimationError(
                "no ground plane: less than half of the tracks below the horizon lie on one plane with the "
                "normal of the ground"
            )
        rows[rows] = ground
        points, mu, variance = points[ground], mu[ground], variance[ground]
        free = fit_plane(points, mu, variance, down, _ANY_TILT)
        if free.inclination(down) > _MAX_TILT:
            raise EstimationError(
                f"no ground plane: the tracks below the horizon lie on a plane that is inclined by at least "
                f"{np.degrees(free.inclination(down)):.0f} deg to the ground"
            )
        plane = fit_plane(points, mu, variance, down, _TILT)
        unit = plane.normal / np.linalg.norm(plane.normal)
        length = self.height * float(np.linalg.norm(plane.normal))
        sigma = self.height * float(np.sqrt(unit @ plane.covariance @ unit))
        weights = self.height * unit @ plane.weights
        return _length(length, sigma, weights, rows, T_prev_curr, rays, seen, self.name, _GROUND_BEST)


@dataclass(frozen=True, eq=False)
class _View:
    """The tracks as one of the two frames of a step sees them.

    Attributes:
        points: (N, 3) rays, z = 1.
        mu: (N,) step length over depth.
        variance: (N,) variances of ``mu``.
        slope: (N,) derivative of ``mu`` by that in the previous frame.
    """

    points: Array
    mu: Array
    variance: Array
    slope: Array


def _viewed(
    measurement_at: Callable[[float], Measurement],
    T_prev_curr: Pose,
    rays: TrackedRays,
    seen: Observation,
    interval: Interval,
) -> tuple[Measurement, _View]:
    """Return the measurement of the previous keyframe or else of the current frame, and the tracks there.

    Raises:
        EstimationError: neither has one.
    """
    mu, variance = seen.depths.inverse, seen.variance
    try:
        at_start = measurement_at(interval.start)
        return at_start, _View(rays.previous, mu, variance, np.ones(len(rays)))
    except EstimationError:
        at_end = measurement_at(interval.end)
    turned = (rays.previous @ T_prev_curr.rotation)[:, 2]
    ratio = turned - mu * (T_prev_curr.rotation.T @ T_prev_curr.translation)[2]
    ratio = np.maximum(ratio, _MIN_DEPTH_RATIO)
    slope = turned / ratio**2
    return at_end, _View(rays.current, mu / ratio, variance * slope**2, slope)


def _length(
    length: float,
    sigma: float,
    weights: Array,
    rows: NDArray[np.bool_],
    T_prev_curr: Pose,
    rays: TrackedRays,
    seen: Observation,
    name: str,
    best: float = _DEPTH_BEST,
) -> Length:
    """Return a measured length with its derivative by the pose.

    Raises:
        EstimationError: it is not positive or too uncertain.
    """
    # Written so that NaN fails, too.
    if not sigma <= _WORST * length:
        raise EstimationError(
            f"the measured length of the step, {length:.3g} m, has a standard deviation of {sigma:.2g} m: "
            "too little parallax or inconsistent depths"
        )
    derivative = np.zeros(len(rays))
    derivative[rows] = weights
    jacobian = pose_jacobian(derivative, lambda pose: step_depths(rays, pose), T_prev_curr, seen.depths)
    return Length(length, max(sigma, best * length), name, metric=True, jacobian=jacobian)

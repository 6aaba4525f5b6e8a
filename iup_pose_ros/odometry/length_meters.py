"""Measurement of a step's length in metres: by depth images, a range sensor, or the camera's height.

Tracks give each depth in units of the step (mu = step length / depth, track_geometry.py). Every meter
compares them with depths in metres and returns the length with a standard deviation, or says why it cannot.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import InverseDepths, pose_jacobian, robust_weight, step_length
from iup_pose_ros.odometry.scaled_step import Length
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
_DEVIATIONS = 3.0
_TOLERANCE = 0.1
_MIN_AGREEING = 0.5
# Tracks whose depth in steps is less certain than this share agree with many lengths and do not count.
_CERTAIN = 0.2
# Radians: radius of the image region around the point that a range sensor measures, at least; number of
# tracks that are used, the nearest ones.
_RADIUS = 0.25
_NEAREST = 30
# Relative residual of tracks on a plane: real surfaces are not exactly plane.
_ROUGHNESS = 0.01
# Radians: a point of the ground is seen at least this much below the horizon; deviation of the base's z axis
# from the ground's normal (suspension, mount); largest inclination of a plane that is taken for the ground.
_BELOW_HORIZON = 0.12
_TILT = 0.025
_MAX_TILT = 0.09
# Radians: the inclination of a surface to the image plane, where nothing is known about it.
_ANY_TILT = 1.0
# Search for the ground: step of the inclination, radians, and number of planes per inclination.
_GRID = 0.02
_SAMPLES = 40
_ITERATIONS = 10


class LengthMeter(Protocol):
    """Interface of the measurements of a step's length."""

    @property
    def name(self) -> str:
        """Name of the source of scale."""

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, stamp: float) -> Length:
        """Return the length of a step in metres.

        Args:
            T_prev_curr: pose of unit translation.
            rays: N tracks.
            seen: agreement of the tracks with the pose.
            stamp: time of the previous keyframe, seconds.

        Raises:
            EstimationError: the length cannot be measured; the message says why.
        """


@dataclass(frozen=True)
class DepthMeter:
    """Length from the depths of tracks in a depth image of the previous keyframe."""

    images: DepthImages
    name: str = "depth"

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, stamp: float) -> Length:
        """See LengthMeter.measure."""
        image = self.images.at(stamp)
        depth, missing = image.along(rays.previous)
        usable = seen.agreeing & np.isfinite(depth)
        if np.count_nonzero(usable) < MIN_TRACKS:
            raise EstimationError(
                f"only {np.count_nonzero(usable)} of {len(rays)} tracks have a depth in the depth image: "
                f"{missing}"
            )
        inverse = 1.0 / np.where(usable, depth, 1.0)
        sigma = _DEPTH_NOISE * (1.0 + inverse)
        known = InverseDepths.independent(rays.ids, inverse, np.where(usable, 1.0 / sigma**2, 0.0))
        found = step_length(seen.depths.inverse[usable], seen.variance[usable], known.rows(usable))
        share = _agreeing_share(found.length, inverse[usable], sigma[usable], seen, usable)
        if share < _MIN_AGREEING:
            raise EstimationError(
                f"only {share:.0%} of the tracks agree with the depth image on the length of the step: it is "
                "not registered to this camera or not of this image, or the scene moves"
            )
        return _length(found.length, found.sigma, found.weights, usable, T_prev_curr, rays, seen, self.name)


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

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, stamp: float) -> Length:
        """See LengthMeter.measure; the surface around the point is taken for a plane."""
        reading = self.readings.at(stamp)
        hit = self.T_base_camera.inverse().apply(reading.point)
        if hit[2] <= 0.0:
            raise EstimationError("the range sensor measures a point behind the camera")
        ray = hit / hit[2]
        distance = np.linalg.norm(rays.previous - ray, axis=1) / np.linalg.norm(ray)
        distance[~seen.agreeing] = np.inf
        rows = distance < max(_RADIUS, 0.5 * reading.field_of_view)
        if np.count_nonzero(rows) > _NEAREST:
            rows = distance <= np.partition(distance, _NEAREST)[_NEAREST]
        if np.count_nonzero(rows) < MIN_TRACKS:
            raise EstimationError(
                f"only {np.count_nonzero(rows)} tracks lie around the point that the range sensor measures, "
                f"{MIN_TRACKS} are required: it lies outside of the image or on a surface without texture"
            )
        mu, variance = seen.depths.inverse[rows], seen.variance[rows]
        plane = _fit_plane(rays.previous[rows], mu, variance, ray / np.linalg.norm(ray), _ANY_TILT)
        if plane.agreeing < _MIN_AGREEING:
            raise EstimationError(
                f"only {plane.agreeing:.0%} of the tracks around the point that the range sensor measures "
                "lie on one surface"
            )
        length = float(plane.normal @ hit)
        sigma = float(np.sqrt(hit @ plane.covariance @ hit + (length * reading.relative_sigma) ** 2))
        weights = hit @ plane.weights
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

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, stamp: float) -> Length:
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
        ground = _ground_rows(points, mu, variance, down)
        if ground is None:
            raise EstimationError(
                "no ground plane: less than half of the tracks below the horizon lie on one plane with the "
                "normal of the ground"
            )
        rows[rows] = ground
        points, mu, variance = points[ground], mu[ground], variance[ground]
        free = _fit_plane(points, mu, variance, down, _ANY_TILT)
        if free.inclination(down) > _MAX_TILT:
            raise EstimationError(
                f"no ground plane: the tracks below the horizon lie on a plane that is inclined by at least "
                f"{np.degrees(free.inclination(down)):.0f} deg to the ground"
            )
        plane = _fit_plane(points, mu, variance, down, _TILT)
        unit = plane.normal / np.linalg.norm(plane.normal)
        length = self.height * float(np.linalg.norm(plane.normal))
        sigma = self.height * float(np.sqrt(unit @ plane.covariance @ unit))
        weights = self.height * unit @ plane.weights
        return _length(length, sigma, weights, rows, T_prev_curr, rays, seen, self.name, _GROUND_BEST)


@dataclass(frozen=True, eq=False)
class _Plane:
    """A plane through tracks: mu = normal . ray with mu the inverse depth in steps.

    Attributes:
        normal: (3,) unit normal times step length over distance of the plane.
        covariance: (3, 3) of ``normal``.
        weights: (3, N) derivative of ``normal`` by the tracks' inverse depths.
        agreeing: share of the tracks within three standard deviations.
    """

    normal: Array
    covariance: Array
    weights: Array
    agreeing: float

    def inclination(self, expected: Array) -> float:
        """Return by how much the plane is certainly inclined to an expected unit normal, radians."""
        size = float(np.linalg.norm(self.normal))
        across = self.normal - (self.normal @ expected) * expected
        angle = float(np.arctan2(np.linalg.norm(across), self.normal @ expected))
        axis = across / max(float(np.linalg.norm(across)), 1e-12)
        sigma = float(np.sqrt(axis @ self.covariance @ axis)) / size
        return max(angle - _DEVIATIONS * sigma, 0.0)


def _fit_plane(points: Array, mu: Array, variance: Array, expected: Array, tilt: float) -> _Plane:
    """Fit a plane to the inverse depths in steps of tracks, robustly.

    Args:
        points: (N, 3) rays of the tracks, z = 1.
        mu: (N,) inverse depths in steps.
        variance: (N,) their variances.
        expected: (3,) expected unit normal.
        tilt: standard deviation of the inclination to the expected normal, radians.
    """
    normal = expected * float(np.median(mu / np.maximum(points @ expected, 1e-3)))
    across = np.eye(3) - np.outer(expected, expected)
    prior = across / (tilt * max(float(np.linalg.norm(normal)), 1e-12)) ** 2
    for _ in range(_ITERATIONS):
        fitted = points @ normal
        # Not the share of mu itself: points that are too far away by chance would then count more.
        total = variance + (_ROUGHNESS * fitted) ** 2
        error = mu - fitted
        weight = robust_weight(error**2 / total) / total
        information = (points * weight[:, None]).T @ points + prior
        weights = np.linalg.solve(information, (points * weight[:, None]).T)
        normal = weights @ mu
    error = mu - points @ normal
    spread = float(np.average(error**2 / total, weights=weight * total))
    agreeing = float(np.mean(error**2 < _DEVIATIONS**2 * total))
    covariance = np.asarray(max(1.0, spread) * np.linalg.inv(information), dtype=np.float64)
    return _Plane(normal, covariance, np.asarray(weights, dtype=np.float64), agreeing)


def _ground_rows(points: Array, mu: Array, variance: Array, down: Array) -> NDArray[np.bool_] | None:
    """Return the tracks (N,) on the plane that fits most of them and is hardly inclined to the ground.

    Planes through single tracks, inclined in steps of a grid about both horizontal axes, are compared by
    their truncated squared errors.

    Args:
        points: (N, 3) rays of the tracks, z = 1.
        mu: (N,) inverse depths in steps.
        variance: (N,) their variances.
        down: (3,) unit normal of the ground.

    Returns:
        None if the plane holds less than half of the tracks whose depth is certain, or too few.
    """
    certain = np.sqrt(variance) < _CERTAIN * np.abs(mu)
    if np.count_nonzero(certain) < MIN_TRACKS:
        return None
    across = np.linalg.svd(down[None])[2][1:]
    samples = np.linspace(0, np.count_nonzero(certain) - 1, _SAMPLES).astype(np.int64)
    best, best_score = certain, -1.0
    for inclination in itertools.product(_GRID * np.arange(-2, 3), repeat=2):
        drop = points @ (down + inclination @ across)
        sizes = np.sort((mu / np.maximum(drop, 1e-3))[certain])[samples][:, None]
        allowed = _DEVIATIONS * np.sqrt(variance + (0.5 * _GRID * sizes) ** 2 / 2.0)
        gain = np.maximum(1.0 - ((mu - sizes * drop) / allowed) ** 2, 0.0)
        scores = gain[:, certain].sum(axis=1)
        if scores.max() > best_score:
            best, best_score = gain[int(scores.argmax())] > 0.0, float(scores.max())
    chosen = np.count_nonzero(best & certain)
    return best if chosen >= max(MIN_TRACKS, _MIN_AGREEING * np.count_nonzero(certain)) else None


def _agreeing_share(
    length: float, inverse: Array, sigma: Array, seen: Observation, rows: NDArray[np.bool_]
) -> float:
    """Return the share of the chosen tracks, of those with a certain depth, that agree with a length."""
    mu, variance = seen.depths.inverse[rows], seen.variance[rows]
    certain = np.sqrt(variance) < _CERTAIN * np.abs(length) * inverse
    allowed = np.maximum(
        _DEVIATIONS * np.sqrt(variance + (length * sigma) ** 2), _TOLERANCE * np.abs(length) * inverse
    )
    agrees = np.abs(mu - length * inverse) < allowed
    return float(np.mean(agrees[certain])) if np.any(certain) else 0.0


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

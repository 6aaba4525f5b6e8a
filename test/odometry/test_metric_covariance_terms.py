"""Every term of the covariances of lengths by other sensors, each where it dominates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.length_meters import DepthMeter, GroundMeter, LengthMeter, RangeMeter
from iup_pose_ros.odometry.metric_scale import MetricScale
from iup_pose_ros.odometry.plane_fit import fit_plane
from iup_pose_ros.odometry.scale import RelativeScale
from iup_pose_ros.odometry.scaled_step import Interval, Length
from iup_pose_ros.odometry.scene_sensors import RangeReading
from iup_pose_ros.odometry.track_geometry import Observation, StepDepths, TrackedRays, observe
from iup_pose_ros.types import Matches

Array = NDArray[np.float64]

SECOND = Interval(0.0, 1.0)
# Optical frame (z forward, y down) in a base (x forward, z up).
MOUNT = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


class Meter:
    """A meter that returns the given length, or fails without one."""

    name = "meter"

    def __init__(self, length: Length | None) -> None:
        self.length = length

    def measure(self, T_prev_curr: Pose, rays: TrackedRays, seen: Observation, interval: Interval) -> Length:
        """See LengthMeter.measure."""
        if self.length is None:
            raise EstimationError("no measurement")
        return self.length


@pytest.fixture
def length_of(monkeypatch) -> Callable[[MetricScale, Length], Length]:
    """Function that returns the length of MetricScale for a length by shared tracks."""

    def length_of(scale: MetricScale, carried: Length) -> Length:
        monkeypatch.setattr(RelativeScale, "_length", lambda *_: carried)
        nothing: Any = SimpleNamespace(T_prev_curr=None)
        return scale._length(nothing, nothing, nothing, SECOND)

    return length_of


def test_carried_and_measured_length_are_weighted_by_their_variances(length_of):
    first = Length(1.0, 0.05, "meter", metric=True)
    scale = MetricScale(OdometryConfig(), Meter(first))
    assert length_of(scale, Length(3.0, 0.3, "meter")) is first
    assert scale._unit_sigma == pytest.approx(0.05)
    along, across = np.eye(6)[0], np.eye(6)[1]
    carried = Length(2.0, 0.2, "meter", jacobian=along)
    scale._meter = Meter(Length(2.2, 0.11, "meter", metric=True, jacobian=across))
    found = length_of(scale, carried)
    variance, other = 0.1**2, 0.05**2
    gain = variance / (variance + other)
    assert found.value == pytest.approx(2.0 * (2.2 / 2.0) ** gain)
    relative = np.sqrt(variance * other / (variance + other))
    assert found.sigma == pytest.approx(found.value * relative)
    assert scale._unit_sigma == pytest.approx(relative)
    expected = found.value * ((1.0 - gain) * along / 2.0 + gain * across / 2.2)
    np.testing.assert_allclose(found.jacobian, expected)


def test_without_a_measured_length_the_carried_one_keeps_its_deviation(length_of):
    scale = MetricScale(OdometryConfig(), Meter(None))
    found = length_of(scale, Length(2.0, 0.3, "meter"))
    assert (found.value, found.sigma) == pytest.approx((2.0, 0.3))
    assert scale._unit_sigma == pytest.approx(0.15)


def test_a_contradicting_length_widens_the_carried_one_by_half_of_the_difference(length_of):
    scale = MetricScale(OdometryConfig(), Meter(Length(1.0, 0.01, "meter", metric=True)))
    length_of(scale, Length(1.0, 0.01, "meter"))
    scale._meter = Meter(Length(2.0, 0.02, "meter", metric=True))
    found = length_of(scale, Length(1.0, 0.03, "meter"))
    assert found.value == 1.0
    assert found.sigma == pytest.approx(np.hypot(0.03, np.log(2.0) / 2.0))
    # 4.9 standard deviations are no contradiction.
    longer = float(np.exp(4.9 * np.hypot(0.1, 0.01)))
    scale._meter = Meter(Length(longer, 0.01 * longer, "meter", metric=True))
    assert length_of(scale, Length(1.0, 0.1, "meter")).value > 1.0


# Meters

FORWARD = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
SIDEWAYS = Pose(so3.exp(np.array([0.02, -0.03, 0.01])), np.array([0.6, 0.0, 0.8]))


def tracks_of(rays: Array, mu: Array, T_prev_curr: Pose) -> TrackedRays:
    """Exact tracks of points on rays (N, 3) with inverse depths in steps (N,)."""
    current = T_prev_curr.inverse().apply(rays / mu[:, None])
    matches = Matches(INTRINSICS.project(rays), INTRINSICS.project(current))
    return TrackedRays.of(np.arange(len(rays)), matches, INTRINSICS)


def seen_with(mu: Array, sigma: float) -> Observation:
    """Observation of inverse depths (N,) of this standard deviation; every track agrees with the pose."""
    every = np.ones(len(mu), dtype=np.bool_)
    depths = StepDepths(mu, np.ones(len(mu)), np.zeros(len(mu)))
    return Observation(depths, np.full(len(mu), sigma**2), 1.0, every, ~every, True)


class Images:
    """Depth images of a plane at a depth, taken with one of the two frames only."""

    def __init__(self, depth: float, stamp: float) -> None:
        self.depth = depth
        self.stamp = stamp

    def at(self, stamp: float) -> Images:
        """See DepthImages.at."""
        if stamp != self.stamp:
            raise EstimationError("no depth image")
        return self

    def along(self, rays: Array) -> tuple[Array, str]:
        """See DepthImage.along."""
        return np.full(len(rays), self.depth), ""


def images(*arguments: Any) -> Any:
    """Return ``Images`` in place of DepthImages."""
    return Images(*arguments)


@pytest.mark.parametrize(("stamp", "depth", "slope"), [(0.0, 10.0, 1.0), (1.0, 9.0, 0.9**-2.0)])
def test_length_by_depth_images_has_the_noise_of_tracks_and_images(stamp, depth, slope):
    mu, sigma = np.full(12, 0.1), 0.01
    rays = np.tile([0.0, 0.0, 1.0], (12, 1))
    found = DepthMeter(images(depth, stamp)).measure(
        FORWARD, tracks_of(rays, mu, FORWARD), seen_with(mu, sigma), SECOND
    )
    rho = 1.0 / depth
    expected = np.sqrt((sigma * slope) ** 2 + (0.01 * (1.0 + rho)) ** 2) / np.sqrt(12.0) / rho
    assert (found.value, found.sigma) == pytest.approx((1.0, expected), rel=1e-3)


def plane_rays(count: int, low: float, seed: int = 0) -> Array:
    """Rays (N, 3) of pixels drawn below a height of the image plane."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(-0.5, 0.5, count), rng.uniform(low, 0.45, count), np.ones(count)])


class Ranges:
    """A range sensor along the optical axis, taken with one of the two frames only."""

    def __init__(self, distance: float, relative_sigma: float, stamp: float = 0.0) -> None:
        self.reading = RangeReading(np.array([distance, 0.0, 0.0]), 0.05, relative_sigma)
        self.stamp = stamp

    def at(self, stamp: float) -> RangeReading:
        """See RangeReadings.at."""
        if stamp != self.stamp:
            raise EstimationError("no range")
        return self.reading


RANGE_RAYS = plane_rays(25, -0.45) * [0.3, 0.3, 1.0]
GROUND_RAYS = plane_rays(60, 0.15)


def meters() -> dict[str, tuple[LengthMeter, Array, Array]]:
    """Meters of a step of 0.5 m, with rays and their inverse depths in steps."""
    wall, floor = np.full(25, 0.5 / 4.0), 0.5 * GROUND_RAYS[:, 1] / 1.2
    end = 4.0 - 0.5 * SIDEWAYS.translation[2]
    return {
        "depth": (DepthMeter(images(4.0, 0.0)), RANGE_RAYS, wall),
        "depth at end": (DepthMeter(images(end, 1.0)), RANGE_RAYS, wall),
        "range": (RangeMeter(Ranges(4.0, 0.0), MOUNT), RANGE_RAYS, wall),
        "range at end": (RangeMeter(Ranges(end, 0.0, 1.0), MOUNT), RANGE_RAYS, wall),
        "ground": (GroundMeter(1.2, MOUNT), GROUND_RAYS, floor),
    }


@pytest.mark.parametrize("name", ["depth", "depth at end", "range", "range at end", "ground"])
def test_length_changes_with_the_pose_by_its_jacobian(name):
    meter, rays, mu = meters()[name]
    tracks = tracks_of(rays, mu, SIDEWAYS)

    def measured(T_prev_curr: Pose) -> Length:
        seen = observe(tracks, T_prev_curr)
        # The same weights for every pose: those of the noise floor.
        return meter.measure(T_prev_curr, tracks, replace(seen, variance=fixed), SECOND)

    fixed = observe(tracks, SIDEWAYS).variance
    nominal = measured(SIDEWAYS)
    if not name.endswith("at end"):
        assert nominal.value == pytest.approx(0.5, rel=1e-3)
    for axis in range(6):
        error = 1e-4 * np.eye(6)[axis]
        translation = SIDEWAYS.translation + error[:3]
        moved = Pose(so3.exp(error[3:]) @ SIDEWAYS.rotation, translation / np.linalg.norm(translation))
        change = (measured(moved).value - nominal.value) / 1e-4
        assert change == pytest.approx(nominal.jacobian[axis], rel=0.1, abs=0.03)


def test_length_by_a_range_has_the_error_of_the_range():
    mu = np.full(25, 0.125)
    meter = RangeMeter(Ranges(4.0, 0.1), MOUNT)
    found = meter.measure(FORWARD, tracks_of(RANGE_RAYS, mu, FORWARD), seen_with(mu, 1e-5), SECOND)
    assert found.sigma == pytest.approx(0.1 * found.value, rel=0.05)


@pytest.mark.parametrize(("name", "share"), [("depth", 0.015), ("range", 0.02), ("ground", 0.03)])
def test_a_measured_length_has_a_minimum_deviation(name, share):
    meter, rays, mu = meters()[name]
    if name != "range":  # which uses the nearest tracks only
        rays, mu = np.tile(rays, (40, 1)), np.tile(mu, 40)
    found = meter.measure(FORWARD, tracks_of(rays, mu, FORWARD), seen_with(mu, 1e-5), SECOND)
    assert found.sigma == pytest.approx(share * found.value, rel=1e-6)


def test_length_by_the_height_has_the_noise_of_the_tracks_on_the_ground():
    """Least squares of the plane's normal, whose inclination to the ground is known within 0.025 rad."""
    rays, height, sigma = plane_rays(14, 0.36), 1.2, 0.025
    mu = 0.5 / height * rays[:, 1]
    found = GroundMeter(height, MOUNT).measure(
        FORWARD, tracks_of(rays, mu, FORWARD), seen_with(mu, sigma), SECOND
    )
    total = sigma**2 + (0.01 * mu) ** 2
    prior = np.diag([1.0, 0.0, 1.0]) / (0.025 * 0.5 / height) ** 2
    covariance = np.linalg.inv((rays / total[:, None]).T @ rays + prior)
    assert found.value == pytest.approx(0.5, rel=1e-3)
    assert found.sigma == pytest.approx(height * np.sqrt(covariance[1, 1]), rel=1e-3)
    assert found.sigma > 0.04 * found.value  # more than the minimum


def test_length_by_the_plane_that_a_range_hits_scatters_as_its_deviation_says():
    meter, rays, _ = meters()["range"]
    rng = np.random.default_rng(4)
    lengths, sigmas = [], []
    for _ in range(150):
        # The inclination of a surface is unknown within one radian.
        normal = np.array([*np.tan(rng.normal(0.0, 0.2, 2)), 1.0]) / 4.0
        mu = 0.5 * rays @ normal
        seen = seen_with(mu + rng.normal(0.0, 0.02, len(mu)), 0.02)
        try:
            found = meter.measure(FORWARD, tracks_of(rays, mu, FORWARD), seen, SECOND)
        except EstimationError:
            continue
        lengths.append(found.value)
        sigmas.append(found.sigma)
    assert len(lengths) > 120
    assert np.mean(sigmas) / np.std(lengths) == pytest.approx(1.1, abs=0.25)


def test_errors_larger_than_their_variances_widen_a_plane():
    """The robust weights hide a part of errors twice as large as told; the rest widens the covariance."""
    error = np.random.default_rng(5).normal(0.0, 0.01, 25)
    variance, axis = np.full(25, 0.01**2), np.array([0.0, 0.0, 1.0])
    right = fit_plane(RANGE_RAYS, 0.2 + error, variance, axis, 1.0)
    doubtful = fit_plane(RANGE_RAYS, 0.2 + 2.0 * error, variance, axis, 1.0)
    assert np.trace(doubtful.covariance) > 1.5 * np.trace(right.covariance)

"""Lengths in metres by depth images, a range sensor and the camera's height, on points in two cameras."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, disturbed, pose, positive_definite, relative_pose

from iup_pose_ros.errors import ConfigurationError, EstimationError, IupPoseError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import MetricSensors, OdometryConfig
from iup_pose_ros.odometry.metric_scale import MetricScale, scale_source
from iup_pose_ros.odometry.scale import ScaleSource
from iup_pose_ros.odometry.scaled_step import Interval, ScaledStep
from iup_pose_ros.odometry.scene_sensors import MessageHistory, RangeHistory, RangeReading
from iup_pose_ros.odometry.track_geometry import TrackedRays
from iup_pose_ros.types import DepthImage, Matches

Array = NDArray[np.float64]
SIZE = (INTRINSICS.height, INTRINSICS.width)
# Optical frame (z forward, y down) in a base (x forward, z up), 1.2 m over the ground.
HEIGHT = 1.2
MOUNT = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


@dataclass
class Surface:
    """A surface given by its depth on each ray of the first camera, and its tracks in later cameras."""

    depth_of: Callable[[Array], Array]
    count: int = 300
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        pixels = self.rng.uniform([2.0, 2.0], [SIZE[1] - 3.0, SIZE[0] - 3.0], (self.count, 2))
        rays = INTRINSICS.rays(pixels)
        self.points = rays * self.depth_of(rays)[:, None]

    def rays(
        self, T_world_prev: Pose, T_world_curr: Pose, first: int = 0, last: int | None = None
    ) -> TrackedRays:
        """Tracks of points first to last that both cameras see."""
        ids = np.arange(first, last or self.count, dtype=np.int64)
        previous = T_world_prev.inverse().apply(self.points[ids])
        current = T_world_curr.inverse().apply(self.points[ids])
        pixels = INTRINSICS.project(previous), INTRINSICS.project(current)
        inside = (previous[:, 2] > 0.1) & (current[:, 2] > 0.1)
        for each in pixels:
            inside &= np.all((each > 1.0) & (each < np.array(SIZE[::-1]) - 2.0), axis=1)
        seen = pixels[1][inside] + self.rng.normal(0.0, self.noise, (np.count_nonzero(inside), 2))
        return TrackedRays.of(ids[inside], Matches(pixels[0][inside], seen), INTRINSICS)


def depths_from(shape: Callable[[Array], Array], T_world_camera: Pose, rays: Array) -> Array:
    """Return the true depths of a surface on rays of a camera that looks in the first one's direction."""
    low, high = np.full(len(rays), 0.05), np.full(len(rays), 60.0)
    for _ in range(16):
        middle = 0.5 * (low + high)
        point = T_world_camera.apply(rays * middle[:, None])
        beyond = point[:, 2] > shape(point / point[:, 2:])
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low


@functools.cache
def depth_image(shape: Callable[[Array], Array], x: float, z: float) -> NDArray[np.float32]:
    """Return the true depths of all pixels of a camera at (x, 0, z)."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    rays = INTRINSICS.rays(np.column_stack([columns.ravel(), rows.ravel()]).astype(float))
    return depths_from(shape, pose(x, 0.0, z), rays).reshape(SIZE).astype(np.float32)


def room(rays: Array) -> Array:
    """A wavy wall 3 to 7 m away."""
    return np.asarray(5.0 + 2.0 * np.sin(2.0 * rays[:, 0]) * np.cos(2.5 * rays[:, 1]))


def ground(rays: Array) -> Array:
    """A ground plane 1.2 m below the camera, before a wall at 9 m."""
    return np.minimum(9.0, HEIGHT / np.maximum(rays[:, 1], 1e-3))


def wall(rays: Array) -> Array:
    """A wall that faces the camera, down to the lower border of the image."""
    return np.full(len(rays), 3.0)


class Depths:
    """Depth images of a surface with the noise and holes of an RGB-D camera; ``change`` spoils them."""

    def __init__(self, surface: Surface, path: list[Pose]) -> None:
        self.rng = np.random.default_rng(1)
        self.images = [
            depth_image(surface.depth_of, each.translation[0], each.translation[2]) for each in path
        ]
        self.change: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda values: values
        self.failure = ""

    def at(self, stamp: float) -> DepthImage:
        """See DepthImages.at."""
        if self.failure:
            raise EstimationError(self.failure)
        true = self.images[round(stamp)]
        noisy = true + 0.01 * true**2 * self.rng.normal(0.0, 1.0, SIZE)
        noisy[self.rng.uniform(0.0, 1.0, SIZE) < 0.2] = np.nan
        return DepthImage(self.change(noisy.astype(np.float32)), INTRINSICS)


class Ranges:
    """A rangefinder along the camera's optical axis."""

    def __init__(self, distances: list[float], sigma: float = 0.01) -> None:
        self.rng = np.random.default_rng(2)
        self.distances = distances
        self.sigma = sigma

    def at(self, stamp: float) -> RangeReading:
        """See RangeReadings.at."""
        value = self.distances[round(stamp)] * (1.0 + self.rng.normal(0.0, self.sigma))
        return RangeReading(np.array([value, 0.0, 0.0]), 0.05, self.sigma)


def run(
    source: ScaleSource, surface: Surface, path: list[Pose], rng: np.random.Generator | None = None
) -> list[ScaledStep]:
    """The path's steps, a second each; with ``rng`` the poses have errors."""
    steps = []
    for index, (before, after) in enumerate(itertools.pairwise(path)):
        relative = relative_pose(before.inverse() @ after, 0.001, 0.005)
        relative = relative if rng is None else disturbed(relative, rng)
        rays, interval = surface.rays(before, after), Interval(index, index + 1.0)
        source.check(relative, rays, interval)
        steps.append(source.step(relative, rays, interval))
        assert positive_definite(steps[-1].camera.covariance)
    return steps


def errors(steps: list[ScaledStep], path: list[Pose]) -> tuple[Array, Array]:
    """Relative errors of the lengths, and the same over their standard deviations."""
    true = [
        np.linalg.norm(after.translation - before.translation) for before, after in itertools.pairwise(path)
    ]
    moves = [step.camera.pose.translation for step in steps]
    lengths = np.array([np.linalg.norm(move) for move in moves])
    sigmas = np.array(
        [
            np.sqrt(move @ step.camera.covariance[:3, :3] @ move) / length
            for move, step, length in zip(moves, steps, lengths, strict=True)
        ]
    )
    return lengths / true - 1.0, (lengths - true) / sigmas


FORWARD = [pose(0.1 * k, 0.0, 0.15 * k) for k in range(8)]


def source_of(name: str, surface: Surface, path: list[Pose]) -> ScaleSource:
    """The scale source with the sensors of a surface."""
    if name == "depth":
        return scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=Depths(surface, path)))
    if name == "range":
        axis = np.array([[0.0, 0.0, 1.0]])
        ranges = Ranges([float(depths_from(surface.depth_of, each, axis)[0]) for each in path])
        return scale_source(OdometryConfig(scale_source="range"), MetricSensors(ranges=ranges), MOUNT)
    config = OdometryConfig(scale_source="camera_height", camera_height=HEIGHT)
    return scale_source(config, T_base_camera=MOUNT)


@pytest.mark.parametrize(("name", "shape"), [("depth", room), ("range", room), ("camera_height", ground)])
def test_lengths_are_metres_and_their_deviation_is_honest(name, shape):
    relative_errors, normalised = [], []
    rng = np.random.default_rng(3)
    for seed in range(10):
        surface = Surface(shape, seed=seed)
        steps = run(source_of(name, surface, FORWARD), surface, FORWARD, rng)
        assert all(step.metric for step in steps)
        assert np.mean([step.source == name for step in steps]) > 0.7
        error, ratio = errors(steps, FORWARD)
        relative_errors.append(error)
        normalised.append(ratio)
    print(name, np.mean(relative_errors), np.std(relative_errors), np.std(normalised))
    assert abs(np.mean(relative_errors)) < 0.02
    assert np.mean(np.abs(normalised) < 3.0) >= 0.95
    # Not so cautious that the deviation is useless.
    assert np.std(normalised) > 0.2


def test_without_a_first_length_no_step_is_scaled():
    surface = Surface(room)
    depths = Depths(surface, FORWARD)
    depths.failure = "no depth image received"
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    with pytest.raises(EstimationError, match="no depth image received"):
        run(source, surface, FORWARD)


def test_a_lost_sensor_ends_metric_after_the_timeout_and_the_scale_is_carried_on():
    path = [pose(z=0.06 * k) for k in range(14)]
    surface = Surface(room)
    depths = Depths(surface, path)
    config = OdometryConfig(scale_source="depth", scale_timeout=3.0)
    source = scale_source(config, MetricSensors(depth=depths))
    steps, warnings = [], []
    for index, (before, after) in enumerate(itertools.pairwise(path)):
        depths.failure = "the cable is loose" if 4 <= index < 11 else ""
        relative = relative_pose(before.inverse() @ after, 1e-5, 1e-5)
        steps.append(source.step(relative, surface.rays(before, after), Interval(index, index + 1.0)))
        warnings.append(source.warning)
    assert [step.metric for step in steps] == [True] * 7 + [False] * 4 + [True] * 2
    assert {step.source for step in steps[4:11]} == {"depth (carried on)"}
    assert warnings[6] == ""
    assert warnings[11] == ""
    assert warnings[8] == ("no length in metres was measured for 5.0 s, scale carried on: the cable is loose")
    sigmas = [np.sqrt(step.camera.covariance[2, 2]) for step in steps]
    assert np.all(np.diff(sigmas[4:11]) > 0.0)
    assert sigmas[11] < sigmas[10]
    error, ratio = errors(steps, path)
    assert np.all(np.abs(error) < 0.1)
    assert np.all(np.abs(ratio) < 3.5)


def test_without_shared_tracks_the_depth_image_alone_gives_the_length():
    surface = Surface(room, count=600)
    path = [pose(), pose(z=0.1), pose(z=0.4)]
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=Depths(surface, path)))
    for index, (first, last) in enumerate([(0, 300), (300, 600)]):
        rays = surface.rays(path[index], path[index + 1], first, last)
        relative = relative_pose(path[index].inverse() @ path[index + 1])
        step = source.step(relative, rays, Interval(index, index + 1.0))
    assert (step.source, step.metric) == ("depth", True)
    assert np.linalg.norm(step.camera.pose.translation) == pytest.approx(0.3, rel=0.05)


def nothing(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(values, np.nan)


def saturated(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.full_like(values, np.inf)


def shuffled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Another part of the scene in every block of 40 pixels, as of another camera."""
    blocks = [values[r : r + 40, c : c + 40] for r in range(0, 240, 40) for c in range(0, 320, 40)]
    order = np.random.default_rng(5).permutation(len(blocks))
    scale = np.random.default_rng(6).uniform(0.3, 3.0, len(blocks))
    return np.vstack(
        [np.hstack([scale[k] * blocks[k] for k in order[row * 8 : row * 8 + 8]]) for row in range(6)]
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nothing, r"only 0 of \d+ tracks have a depth in the depth image: \d+ lie in holes, 0 beyond"),
        (saturated, r"only 0 of \d+ tracks have a depth .* 0 lie in holes, \d+ beyond the sensor's range"),
        (shuffled, "of the tracks agree with the depth image .* not registered to this camera"),
    ],
)
def test_causes_of_unusable_depth_images_are_told_apart(change, reason):
    surface = Surface(room)
    depths = Depths(surface, FORWARD)
    depths.change = change
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    with pytest.raises(EstimationError, match=reason):
        run(source, surface, FORWARD)


def test_one_wrong_depth_image_does_not_change_the_scale_but_a_lasting_change_is_accepted():
    path = [pose(z=0.05 * k) for k in range(16)]
    surface = Surface(room)
    depths = Depths(surface, path)
    source = scale_source(OdometryConfig(scale_source="depth"), MetricSensors(depth=depths))
    lengths = []
    for index, (before, after) in enumerate(itertools.pairwise(path)):
        wrong = index == 3 or index >= 8
        depths.change = (lambda values: 2.0 * values) if wrong else (lambda values: values)
        relative = relative_pose(before.inverse() @ after, 0.0005, 0.002)
        step = source.step(relative, surface.rays(before, after), Interval(index, index + 1.0))
        lengths.append(np.linalg.norm(step.camera.pose.translation) / 0.05)
        assert (step.source == "depth (carried on)") == (index in (3, 8)), index
    assert lengths[3] == pytest.approx(1.0, abs=0.1)
    assert lengths[7] == pytest.approx(1.0, abs=0.1)
    assert lengths[-1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (wall, "no ground plane"),
        (room, "no ground plane"),
        (lambda rays: HEIGHT / np.maximum(rays[:, 1] + 0.35 * rays[:, 0], 0.12), "no ground plane"),
    ],
)
def test_camera_height_refuses_scenes_without_ground(shape, reason):
    surface = Surface(shape)
    with pytest.raises(EstimationError, match=reason):
        run(source_of("camera_height", surface, FORWARD), surface, FORWARD)


def test_camera_height_refuses_a_view_of_the_sky():
    looking_up = Pose(MOUNT.rotation @ so3.exp(np.array([0.8, 0.0, 0.0])), MOUNT.translation)
    config = OdometryConfig(scale_source="camera_height", camera_height=HEIGHT)
    with pytest.raises(EstimationError, match="only 0 tracks lie below the horizon"):
        run(scale_source(config, T_base_camera=looking_up), Surface(room), FORWARD)


def test_camera_height_must_be_given():
    with pytest.raises(ConfigurationError, match="camera_height is 0; the height in metres is required"):
        OdometryConfig(scale_source="camera_height")


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ([-2.0, 0.0, 0.0], "behind the camera"),
        ([1.0, 3.0, 0.0], "outside of the image or on a surface without texture"),
    ],
)
def test_a_range_sensor_that_measures_what_the_camera_does_not_see_is_refused(point, reason):
    ranges = SimpleNamespace(at=lambda stamp: RangeReading(np.array(point), 0.05, 0.01))
    source = scale_source(OdometryConfig(scale_source="range"), MetricSensors(ranges=ranges), MOUNT)
    with pytest.raises(EstimationError, match=reason):
        run(source, Surface(room), FORWARD)


def range_message(
    value: float,
    stamp: int = 5,
    frame: str = "sensor",
    limits: tuple[float, float] = (0.2, 8.0),
    field_of_view: float = 0.1,
) -> SimpleNamespace:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp, nanosec=0), frame_id=frame)
    low, high = limits
    return SimpleNamespace(
        header=header, range=value, min_range=low, max_range=high, field_of_view=field_of_view
    )


def range_history(message: SimpleNamespace) -> RangeHistory:
    messages = MessageHistory("range")
    messages.add(message)
    return RangeHistory(messages, 0.02, lambda seconds: round(seconds * 1e9), lambda *_: pose())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.inf, "range inf m is out of reach; the sensor measures 0.2 to 8 m"),
        (-np.inf, "range -inf m is too near"),
        (np.nan, "range nan m is invalid"),
        (0.1, "range 0.1 m is too near"),
        (9.0, "range 9 m is out of reach"),
    ],
)
def test_ranges_without_a_target_are_told_apart(value, reason):
    with pytest.raises(EstimationError, match=reason):
        range_history(range_message(value)).at(5.0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (range_message(0.0, limits=(0.0, 8.0)), "range 0 m is too near; the sensor measures 0.001 to 8 m"),
        (range_message(1e30, limits=(0.0, np.inf)), r"range 1e\+30 m is out of reach"),
        (range_message(2.0, field_of_view=27.0), "field of view of 27 rad; 0 to pi is accepted"),
        (range_message(2.0, field_of_view=np.nan), "field of view of nan rad"),
    ],
)
def test_a_range_that_its_own_limits_allow_must_be_plausible(message, reason):
    with pytest.raises(EstimationError, match=reason):
        range_history(message).at(5.0)


def test_a_range_is_a_point_on_the_x_axis_of_its_frame():
    messages = MessageHistory("range")
    with pytest.raises(EstimationError, match="no range received"):
        messages.nearest(0, 1.0)
    messages.add(range_message(2.0))
    mounts = {"sensor": pose(0.1, 0.2, 0.3, (0.0, np.pi / 2.0, 0.0))}

    def find(frame: str, stamp: object) -> Pose:
        if frame not in mounts:
            raise IupPoseError(f"no transform of {frame}")
        return mounts[frame]

    history = RangeHistory(messages, 0.02, lambda seconds: round(seconds * 1e9), find)
    np.testing.assert_allclose(history.at(5.01).point, [0.1, 0.2, -1.7], atol=1e-12)
    with pytest.raises(EstimationError, match=r"the nearest range differs by 0.030 s .* maximum 0.02 s"):
        history.at(5.03)
    messages.add(range_message(2.0, 6, "elsewhere"))
    with pytest.raises(EstimationError, match="no transform of elsewhere"):
        history.at(6.0)
    messages.add(range_message(3.0, 2))
    assert messages.nearest(2 * 10**9, 0.0).range == 3.0
    with pytest.raises(EstimationError, match=r"differs by 4.000 s"):
        messages.nearest(6 * 10**9, 0.5)


@pytest.mark.parametrize("source", ["depth", "range"])
def test_a_missing_sensor_is_refused(source):
    with pytest.raises(ConfigurationError, match=f"scale_source is '{source}', but no"):
        scale_source(OdometryConfig(scale_source=source))


@pytest.mark.parametrize("name", ["depth", "range"])
def test_the_current_frame_gives_the_length_where_the_previous_one_has_no_measurement(name):
    surface = Surface(room)
    path = FORWARD[::2]
    source = source_of(name, surface, path)
    assert isinstance(source, MetricScale)
    sensor = getattr(source._meter, "images" if name == "depth" else "readings")
    measured_at = sensor.at

    def at(stamp: float) -> object:
        if round(stamp) % 2 == 0:
            raise EstimationError("none at even stamps")
        return measured_at(stamp)

    sensor.at = at
    steps = run(source, surface, path)
    assert {step.source for step in steps} == {name}
    assert np.all(np.abs(errors(steps, path)[0]) < 0.06)

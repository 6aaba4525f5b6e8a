"""Surfaces, and depth images and ranges of them, for the tests of lengths in metres."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, disturbed, pose, positive_definite, relative_pose

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import MetricSensors, OdometryConfig
from iup_pose_ros.odometry.metric_scale import scale_source
from iup_pose_ros.odometry.scale import ScaleSource
from iup_pose_ros.odometry.scaled_step import Interval, ScaledStep
from iup_pose_ros.odometry.scene_sensors import RangeReading
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

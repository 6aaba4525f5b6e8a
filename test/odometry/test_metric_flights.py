"""Odometry in metres on rendered flights: by depth images, a rangefinder, and the height over the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iup_pose_ros.demo_scene.flight import LEVEL, fly
from iup_pose_ros.demo_scene.materials import bricks, lawn
from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
from iup_pose_ros.demo_scene.room import build_room
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.metrics.trajectory_errors import position_errors, root_mean_square
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory, align
from iup_pose_ros.odometry import MetricSensors, OdometryConfig, VisualOdometry
from iup_pose_ros.odometry.scene_sensors import RangeReading
from iup_pose_ros.types import DepthImage, Frame

pytestmark = pytest.mark.slow
CAMERA = Intrinsics(fx=210.0, fy=210.0, cx=160.3, cy=119.2, width=320, height=240)
HEIGHT = 0.6
MOUNT = Pose(LEVEL, np.zeros(3))


@dataclass(frozen=True, eq=False)
class Flight:
    """Rendered images and depths along a true trajectory of the camera."""

    truth: Trajectory
    images: list[NDArray[np.uint8]]
    depths: list[NDArray[np.float32]]

    @classmethod
    def through(cls, scene: PlaneScene, truth: Trajectory) -> Flight:
        rng = np.random.default_rng(4)
        images, depths = [], []
        for index in range(len(truth)):
            T_world_camera = torch.from_numpy(truth.pose(index).matrix)[None]
            matrix = torch.from_numpy(CAMERA.matrix)[None]
            view = render(scene, matrix, T_world_camera, CAMERA.width, CAMERA.height)
            image = 255.0 * view.image[0].permute(1, 2, 0).numpy()
            images.append((image + rng.normal(0.0, 1.5, image.shape)).clip(0, 255).astype(np.uint8))
            depths.append(view.depth[0].numpy().astype(np.float32))
        return cls(truth, images, depths)

    def index(self, stamp: float) -> int:
        return int(np.argmin(np.abs(self.truth.stamps - stamp)))


class DepthCamera:
    """Noise of 1 % of the squared distance per metre, and 20 % holes."""

    def __init__(self, flight: Flight) -> None:
        self.flight, self.rng = flight, np.random.default_rng(5)

    def at(self, stamp: float) -> DepthImage:
        depth = self.flight.depths[self.flight.index(stamp)]
        noisy = depth + 0.01 * depth**2 * self.rng.normal(0.0, 1.0, depth.shape)
        noisy[self.rng.uniform(0.0, 1.0, depth.shape) < 0.2] = np.nan
        return DepthImage(noisy.astype(np.float32), CAMERA)


class RangeFinder:
    """Measures along the optical axis with a noise of 1 %."""

    def __init__(self, flight: Flight) -> None:
        self.flight, self.rng = flight, np.random.default_rng(6)

    def at(self, stamp: float) -> RangeReading:
        depth = float(self.flight.depths[self.flight.index(stamp)][119, 160])
        value = depth * (1.0 + self.rng.normal(0.0, 0.01))
        return RangeReading(MOUNT.apply(np.array([0.0, 0.0, value])), 0.03, 0.01)


@pytest.fixture(scope="module")
def room_flight() -> Flight:
    return Flight.through(build_room(), fly(duration=10.0, rate=10.0).select(np.arange(10, 80)))


@pytest.fixture(scope="module")
def drive() -> Flight:
    """A robot on a lawn between walls drives an S, its camera pitched down by 15 degrees."""
    ground = TexturedPlane([0, 0, 0], [30, 0, 0], [0, 30, 0], lawn().picture, (12.0, 12.0))
    walls = [
        TexturedPlane([20, 0, 3], [0, 30, 0], [0, 0, 3], bricks().picture, (8.0, 1.0)),
        TexturedPlane([0, 20, 3], [30, 0, 0], [0, 0, 3], bricks().picture, (8.0, 1.0)),
        TexturedPlane([0, -20, 3], [30, 0, 0], [0, 0, 3], bricks().picture, (8.0, 1.0)),
    ]
    stamps = np.arange(80) / 10.0
    heading = 0.5 * np.sin(0.6 * stamps)
    speed = 0.5 / 10.0
    steps = speed * np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1)
    positions = np.cumsum(steps, axis=0) + np.array([0.0, 0.0, HEIGHT])
    zero = np.zeros_like(heading)
    turns = so3.exp(np.stack([zero, zero, heading], axis=1))
    pitch = so3.exp(np.array([np.radians(-15.0), 0.0, 0.0]))
    return Flight.through(
        PlaneScene.from_planes([ground, *walls]), Trajectory(stamps, turns @ LEVEL @ pitch, positions)
    )


def run(flight: Flight, config: OdometryConfig, sensors: MetricSensors, mount: Pose = MOUNT):
    """The update of every image of a flight."""
    odometry = VisualOdometry(create_estimator("epipolar_klt"), config, mount, sensors)
    return [
        odometry.process(Frame(image, CAMERA, float(stamp), "camera"))
        for stamp, image in zip(flight.truth.stamps, flight.images, strict=True)
    ]


def check(flight: Flight, updates, source: str, mount: Pose = MOUNT) -> None:
    edges = [update.edge for update in updates if update.edge is not None]
    assert len(edges) > 12, [update.reason for update in updates]
    assert all(edge.metric for edge in edges)
    assert np.mean([edge.scale_source == source for edge in edges]) > 0.6, [e.scale_source for e in edges]
    ratios, errors = [], []
    for edge in edges:
        before, after = (flight.index(stamp) for stamp in (edge.previous_stamp, edge.current_stamp))
        true = flight.truth.pose(before).inverse() @ flight.truth.pose(after)
        move, length = edge.camera.pose.translation, float(np.linalg.norm(edge.camera.pose.translation))
        direction = move / max(length, 1e-9)
        sigma = float(np.sqrt(direction @ edge.camera.covariance[:3, :3] @ direction))
        error = length - float(np.linalg.norm(true.translation))
        ratios.append(error / sigma)
        errors.append(error / np.linalg.norm(true.translation))
    posed = [update for update in updates if update.pose is not None]
    estimate = Trajectory.from_poses(
        [update.stamp for update in posed], [update.pose.pose @ mount for update in posed]
    )
    truth = flight.truth.select([flight.index(update.stamp) for update in posed])
    aligned = align(estimate.positions, truth.positions, with_scale=False).apply(estimate)
    ate = root_mean_square(position_errors(aligned, truth))
    print(
        f"{source}: {len(edges)} edges, ATE {ate:.4f} m of {truth.length:.2f} m ({ate / truth.length:.2%}), "
        f"scale error mean {np.mean(errors):+.3%}, standard deviation {np.std(errors):.3%}, "
        f"within 3 sigma {np.mean(np.abs(ratios) < 3.0):.1%}"
    )
    assert ate <= 0.02 * truth.length
    assert np.mean(np.abs(ratios) < 3.0) >= 0.95


def test_depth_images_give_metres(room_flight):
    sensors = MetricSensors(depth=DepthCamera(room_flight))
    updates = run(room_flight, OdometryConfig(scale_source="depth"), sensors)
    check(room_flight, updates, "depth")


def test_a_rangefinder_gives_metres(drive):
    sensors = MetricSensors(ranges=RangeFinder(drive))
    updates = run(drive, OdometryConfig(scale_source="range"), sensors)
    check(drive, updates, "range")


def test_the_height_over_the_ground_gives_metres(drive):
    pitched = Pose(LEVEL @ so3.exp(np.array([np.radians(-15.0), 0.0, 0.0])), np.zeros(3))
    config = OdometryConfig(scale_source="camera_height", camera_height=HEIGHT)
    check(drive, run(drive, config, MetricSensors(), pitched), "camera_height", pitched)


def test_a_room_without_visible_floor_has_no_ground(room_flight):
    """The flight looks at walls and furniture from 1.5 m, hardly at the floor; the height would be wrong."""
    config = OdometryConfig(scale_source="camera_height", camera_height=1.5)
    updates = run(room_flight, config, MetricSensors())
    reasons = [update.reason for update in updates if "ground" in update.reason]
    assert reasons


def test_a_rangefinder_among_furniture_is_used_where_it_hits_one_surface_only(room_flight):
    sensors = MetricSensors(ranges=RangeFinder(room_flight))
    updates = run(room_flight, OdometryConfig(scale_source="range"), sensors)
    assert any("lie on one surface" in update.reason for update in updates)
    edges = [update.edge for update in updates if update.edge is not None]
    assert len(edges) > 5
    for edge in edges:
        before, after = (room_flight.index(stamp) for stamp in (edge.previous_stamp, edge.current_stamp))
        true = room_flight.truth.pose(before).inverse() @ room_flight.truth.pose(after)
        length = np.linalg.norm(edge.camera.pose.translation)
        assert length == pytest.approx(np.linalg.norm(true.translation), rel=0.1)

"""Pairs, matches and networks for the tests of the hybrid estimator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from two_view_scenes import Scene, direction_angle, make_scene, random_pose, rotation_error, unit

from iup_pose_ros.demo_scene.rendered_pair import random_pair, random_scene, warp_0_to_1
from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.network.network_matches import NetworkMatches
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Frame, Matches, RelativePose

ATTENTION = np.full((6, 8), 0.5, dtype=np.float32)
NO_MATCHES = Matches(np.zeros((0, 2)), np.zeros((0, 2)))


@dataclass
class FakeNetwork:
    """Finds the same matches in every pair."""

    matches: Matches = NO_MATCHES
    info: EstimatorInfo = field(default=EstimatorInfo("network"))
    asked: int = 0

    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        self.asked += 1
        return NetworkMatches(self.matches, np.ones(len(self.matches)), ATTENTION)


class FailingNetwork:
    """A network that refuses every pair."""

    info = EstimatorInfo("network")

    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        raise EstimationError("image is too small")


def rendered(regime: str, seed: int) -> tuple[Scene, Matches]:
    """A rendered pair, 480 x 360, and true matches of cells 16 pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(0)
    textures = [rng.integers(0, 255, (64, 80, 3), dtype=np.uint8) for _ in range(4)]
    pair = random_pair(random_scene(textures, generator), generator, 480, 360, regime)
    fx, fy, cx, cy = (float(pair.K[0, i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = Intrinsics(fx, fy, cx, cy, 480, 360)
    images = [
        np.ascontiguousarray((255.0 * image[0].permute(1, 2, 0)).round().byte().numpy())
        for image in (pair.image_0, pair.image_1)
    ]
    frames = [Frame(image, camera, float(i), "camera") for i, image in enumerate(images)]
    pose = Pose(pair.R_1_0[0].double().numpy(), pair.t_1_0[0].double().numpy()).inverse()
    goals = warp_0_to_1(pair.depth_0, pair.K, pair.R_1_0, pair.t_1_0)[0][0, 8::16, 8::16].double().numpy()
    x, y = np.meshgrid(np.arange(8.0, 480.0, 16.0), np.arange(8.0, 360.0, 16.0))
    cells = np.stack([x, y], axis=-1).reshape(-1, 2)
    truth = Pose(pose.rotation, unit(pose.translation))
    return Scene(frames[0], frames[1], NO_MATCHES, truth), Matches(cells, goals.reshape(-1, 2))


def disturbed(matches: Matches, error: float, smooth: bool, seed: int = 0) -> Matches:
    """Matches wrong by about ``error`` pixels, one in eight grossly; errors are noise, or alike nearby."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=matches.points_curr.shape)
    if smooth:
        noise = np.sqrt(2.0) * np.sin(matches.points_prev / 90.0 + rng.uniform(0.0, 6.0, 2))
    goals = matches.points_curr + error / np.sqrt(2.0) * noise
    wrong = rng.random(len(goals)) < 1 / 8
    goals[wrong] = rng.uniform([0.0, 0.0], [480.0, 360.0], (int(wrong.sum()), 2))
    return Matches(matches.points_prev, goals)


def unrelated_matches(count: int) -> Matches:
    return Matches(*np.random.default_rng(0).uniform(0.0, 360.0, (2, count, 2)))


def angles(estimate: RelativePose, scene: Scene) -> tuple[float, float]:
    """Errors of rotation and direction in degrees."""
    rotation = float(np.linalg.norm(rotation_error(estimate, scene)))
    return float(np.degrees(rotation)), float(np.degrees(direction_angle(estimate, scene)))


def synthetic(
    count: int = 200, noise: float = 0.2, baseline: float = 0.5, outliers: int = 0, seed: int = 0
) -> Scene:
    """Matches of blank images, in which nothing else can be matched; the pose is always the same."""
    pose = random_pose(np.random.default_rng(1))
    return make_scene(np.random.default_rng(seed), pose, count, baseline, noise, outliers)

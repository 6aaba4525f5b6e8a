"""Synthetic matches with known truth: points before two cameras, noise and outliers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches, RelativePose

CAMERA = Intrinsics(500.0, 500.0, 319.5, 239.5, 640, 480)
WIDE_CAMERA = Intrinsics(310.0, 315.0, 402.0, 255.0, 800, 520)


@dataclass(frozen=True, eq=False)
class Scene:
    """Two frames (their images are empty), matches between them, and the true pose of unit translation."""

    previous: Frame
    current: Frame
    matches: Matches
    T_prev_curr: Pose


def unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def random_pose(rng: np.random.Generator, rotation_deg: float = 10.0) -> Pose:
    """Rotation by ``rotation_deg`` and translation of unit length, both in random directions."""
    return Pose(so3.exp(unit(rng.normal(size=3)) * np.radians(rotation_deg)), unit(rng.normal(size=3)))


def turned(pose: Pose, degrees: float) -> Pose:
    """The pose with its rotation wrong by so much."""
    return Pose(
        so3.exp(np.radians(degrees) * unit(np.array([1.0, -2.0, 1.0]))) @ pose.rotation, pose.translation
    )


def make_scene(
    rng: np.random.Generator,
    T_prev_curr: Pose,
    count: int = 200,
    baseline: float = 0.5,
    noise: float = 0.5,
    outliers: int = 0,
    plane: Array | None = None,
    cameras: tuple[Intrinsics, Intrinsics] = (CAMERA, CAMERA),
    same_camera: bool = True,
) -> Scene:
    """Points 3 to 10 away, or on ``plane`` (3,) with plane . point = 1, both cameras ``baseline`` apart."""
    moved = Pose(T_prev_curr.rotation, baseline * T_prev_curr.translation)
    first, second = cameras
    pixels = rng.uniform([0.0, 0.0], [first.width - 1.0, first.height - 1.0], (50 * count, 2))
    rays = first.rays(pixels)
    depths = rng.uniform(3.0, 10.0, len(rays)) if plane is None else 1.0 / (rays @ plane)
    points = moved.inverse().apply(rays * depths[:, None])
    before = points[:, 2] > 0.3
    seen = second.project(points[before])
    inside = np.all((seen >= 0.0) & (seen <= (second.width - 1.0, second.height - 1.0)), axis=1)
    visible = np.hstack([pixels[before], seen])[inside][:count]
    assert len(visible) == count, "the two cameras of this scene see too little in common"
    points = visible + noise * rng.normal(size=(count, 4))
    sizes = [first.width, first.height, second.width, second.height]
    points = np.vstack([points, rng.uniform(0.0, sizes, (outliers, 4))])
    frames = [
        Frame(np.zeros((camera.height, camera.width), np.uint8), camera, float(index), name)
        for index, (camera, name) in enumerate(
            zip(cameras, ("camera", "camera" if same_camera else "other"), strict=True)
        )
    ]
    return Scene(frames[0], frames[1], Matches(points[:, :2], points[:, 2:]), T_prev_curr)


def rotation_error(estimate: RelativePose, scene: Scene) -> Array:
    """Rotation vector (3,) from the estimate to the truth, about the previous camera's axes."""
    return so3.log(scene.T_prev_curr.rotation @ estimate.T_prev_curr.rotation.T)


def direction_angle(estimate: RelativePose, scene: Scene) -> float:
    """Angle between both directions of translation, 0 to pi."""
    first, second = estimate.T_prev_curr.translation, scene.T_prev_curr.translation
    return float(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second))


def noise_frame(seed: int, width: int = 160, height: int = 120, grey: bool = False) -> Frame:
    """A frame of smooth noise."""
    shape = (height, width) if grey else (height, width, 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2.0).astype(np.uint8)
    intrinsics = Intrinsics(0.9 * width, 0.9 * width, width / 2, height / 2, width, height)
    return Frame(image, intrinsics, float(seed), "camera")

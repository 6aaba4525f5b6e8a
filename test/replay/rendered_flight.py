"""A short flight through a corridor: trajectory, scene and camera."""

from __future__ import annotations

import cv2
import numpy as np

from iup_pose_ros.bags.writer import CameraExtrinsics
from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory

FRAMES, RATE = 48, 15.0
WIDTH, HEIGHT, FOCAL = 320, 240, 260.0
FIRST_STAMP = 1_700_000_000.5
EXTRINSICS = CameraExtrinsics(Pose(so3.exp(np.array([0.4, -1.1, 0.7])), np.array([0.3, -0.2, 0.5])))


def flight() -> Trajectory:
    """T_world_camera: ahead along z and a little sideways, turning all the while."""
    phase = np.linspace(0.0, 1.0, FRAMES)
    positions = np.stack([0.8 * phase, 0.2 * np.sin(6.0 * phase), 2.5 * phase], axis=1)
    vectors = np.stack([0.05 * np.sin(5.0 * phase), -0.25 * phase, 0.03 * phase], axis=1)
    return Trajectory(FIRST_STAMP + np.arange(FRAMES) / RATE, so3.exp(vectors), positions)


def scene() -> PlaneScene:
    """The far end of a corridor, its floor, ceiling and walls, covered with smooth noise."""
    rng = np.random.default_rng(5)

    def texture(size: int) -> np.ndarray:
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (size, size, 3)), (0, 0), 2.0)
        return np.asarray(255.0 * (noise - noise.min()) / np.ptp(noise), dtype=np.uint8)

    x, y, z = np.eye(3)
    return PlaneScene.from_planes(
        [
            TexturedPlane(9.0 * z, 2.5 * x, 1.5 * y, texture(512)),
            TexturedPlane(1.5 * y + 4.0 * z, 2.5 * x, 5.0 * z, texture(1024)),
            TexturedPlane(-1.5 * y + 4.0 * z, 2.5 * x, 5.0 * z, texture(1024)),
            TexturedPlane(2.5 * x + 4.0 * z, 5.0 * z, 1.5 * y, texture(1024)),
            TexturedPlane(-2.5 * x + 4.0 * z, 5.0 * z, 1.5 * y, texture(1024)),
        ]
    )

"""A short rendered flight with exact ground truth, as a sequence folder and as a bag."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from iup_pose_ros.bags.sequence import convert_sequence
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.bags.writer import CameraExtrinsics
from iup_pose_ros.demo_scene.planes import PlaneScene, TexturedPlane, render
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


@pytest.fixture(scope="session")
def sequence_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flight as a folder with images/, timestamps.csv, intrinsics.yaml and groundtruth.tum."""
    folder = tmp_path_factory.mktemp("flight")
    trajectory = flight()
    K = np.array([[FOCAL, 0.0, WIDTH / 2 - 0.5], [0.0, FOCAL, HEIGHT / 2 - 0.5], [0.0, 0.0, 1.0]])
    poses = np.stack([trajectory.pose(index).matrix for index in range(FRAMES)])
    cameras = torch.from_numpy(np.broadcast_to(K, (FRAMES, 3, 3)).copy())
    views = render(scene(), cameras, torch.from_numpy(poses), WIDTH, HEIGHT)
    images = (255.0 * views.image).round().byte().permute(0, 2, 3, 1).numpy()
    (folder / "images").mkdir()
    rows = ["timestamp,filename"]
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / "images" / f"{index:03d}.png"), image[:, :, ::-1])
        rows.append(f"{trajectory.stamps[index]:.9f},{index:03d}.png")
    (folder / "timestamps.csv").write_text("\n".join(rows) + "\n")
    (folder / "intrinsics.yaml").write_text(
        f"fx: {FOCAL}\nfy: {FOCAL}\ncx: {K[0, 2]}\ncy: {K[1, 2]}\nwidth: {WIDTH}\nheight: {HEIGHT}\n"
    )
    write_tum(folder / "groundtruth.tum", trajectory)
    return folder


@pytest.fixture(scope="session")
def bag(sequence_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flight as a bag whose camera is mounted askew and off centre."""
    path = tmp_path_factory.mktemp("bags") / "flight"
    convert_sequence(sequence_folder, path, extrinsics=EXTRINSICS)
    return path

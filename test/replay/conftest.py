"""A short rendered flight with exact ground truth, as a sequence folder and as a bag."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rendered_flight import EXTRINSICS, FOCAL, FRAMES, HEIGHT, WIDTH, flight, scene

from iup_pose_ros.bags.sequence import convert_sequence
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.demo_scene.planes import render


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

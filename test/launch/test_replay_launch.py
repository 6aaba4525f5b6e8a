"""replay.launch.py with the real launch and `ros2 bag`, which exist in ROS distributions only."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.geometry.camera import Intrinsics

pytestmark = pytest.mark.skipif(
    shutil.which("ros2") is None, reason="ros2 is not installed: it comes with a ROS distribution only"
)

WIDTH, HEIGHT = 320, 240


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A camera that moves along a textured wall for 3 s."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, 3 * WIDTH)), (0, 0), 2.0)
    wall: np.ndarray = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    calibration = CameraCalibration(Intrinsics(260.0, 260.0, 159.5, 119.5, WIDTH, HEIGHT))
    with write_camera_bag(tmp_path / "bag", calibration) as writer:
        for index in range(45):
            image = np.ascontiguousarray(wall[:, 4 * index : 4 * index + WIDTH])
            writer.write_image(10**9 + index * 66_666_667, image)
    return tmp_path / "bag"


def test_replay_ends_with_a_report(bag: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    command = ["ros2", "launch", "iup_pose_ros", "replay.launch.py", f"bag:={bag}", f"output:={output}"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (values,) = json.loads((output / "report" / "metrics.json").read_text())["estimators"].values()
    assert values["mode"] == "recorded"
    assert values["frames"] == 45
    assert values["frames_processed"] > 20
    assert (output / "report" / "report.html").exists()

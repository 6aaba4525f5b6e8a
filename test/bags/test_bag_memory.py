"""Reading takes as much memory for a long recording as for a short one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.geometry.camera import Intrinsics

WIDTH, HEIGHT, COUNT = 640, 480, 200
GROWTH_MB = 40

# Peak resident memory in MB after the first tenth of the images and after all of them.
READ = """
import resource, sys
from iup_pose_ros.bags.reader import BagReader

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

with BagReader(sys.argv[1]) as bag:
    for index, frame in enumerate(bag.frames()):
        if index == bag.image_count // 10:
            early = peak()
    assert index == bag.image_count - 1
print(early, peak())
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_memory_does_not_grow_with_the_recording(storage: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT + COUNT, WIDTH, 3), dtype=np.uint8)
    calibration = CameraCalibration(Intrinsics(500.0, 500.0, 319.5, 239.5, WIDTH, HEIGHT))
    with write_camera_bag(tmp_path / "bag", calibration, storage=storage) as bag:
        for index in range(COUNT):
            bag.write_image(1 + index * 10**7, noise[index : index + HEIGHT])
    megabytes = sum(file.stat().st_size for file in (tmp_path / "bag").iterdir()) / 2**20
    command = [sys.executable, "-c", READ, str(tmp_path / "bag")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    early, late = map(float, output.split())
    assert megabytes > 4 * GROWTH_MB
    assert late - early < GROWTH_MB

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.writer import CameraExtrinsics, CameraNames, write_camera_bag
from iup_pose_ros.geometry.camera import Intrinsics


@dataclass(frozen=True)
class Sample:
    """What ``make_bag`` and ``sequence_folder`` write."""

    calibration: CameraCalibration = field(
        default_factory=lambda: CameraCalibration(Intrinsics(50.0, 51.0, 31.0, 23.5, 64, 48))
    )
    start: int = 1_403_715_274_312_143_087
    period: int = 50_000_000

    def picture(self, index: int, colour: bool = True) -> np.ndarray:
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        return image if colour else np.ascontiguousarray(image[..., 0])

    def stamp(self, index: int) -> int:
        return self.start + self.period * index


@pytest.fixture
def sample() -> Sample:
    return Sample()


@pytest.fixture
def make_bag(tmp_path: Path, sample: Sample) -> Callable[..., Path]:
    """Writes a small bag and returns its folder."""

    def make(
        name: str = "bag",
        count: int = 5,
        colour: bool = True,
        storage: str = "mcap",
        calibration: CameraCalibration = sample.calibration,
        names: CameraNames | None = None,
        extrinsics: CameraExtrinsics | None = None,
    ) -> Path:
        path = tmp_path / name
        with write_camera_bag(path, calibration, names, extrinsics, storage, sample.start) as bag:
            for index in range(count):
                bag.write_image(sample.stamp(index), sample.picture(index, colour))
        return path

    return make


@pytest.fixture
def sequence_folder(tmp_path: Path, sample: Sample) -> Path:
    """A distorted sequence of four images in the layout of the evaluation data."""
    folder = tmp_path / "sequence"
    (folder / "images").mkdir(parents=True)
    stamps = [f"{sample.stamp(index) // 10**9}.{sample.stamp(index) % 10**9:09d}" for index in range(4)]
    for index, stamp in enumerate(stamps):
        cv2.imwrite(str(folder / "images" / f"{stamp}.png"), sample.picture(index)[..., ::-1])
    rows = "".join(f"{stamp},{stamp}.png\n" for stamp in stamps)
    (folder / "timestamps.csv").write_text("timestamp,filename\n" + rows)
    (folder / "intrinsics.yaml").write_text(
        "# origin at the centre of the top-left pixel\nfx: 50.0\nfy: 51.0\ncx: 31.0\ncy: 23.5\nwidth: 64\n"
        "height: 48\ndistortion_model: radtan\ndistortion_coeffs: [-0.1, 0.01, 0.001, 0.002]\n"
    )
    (folder / "groundtruth.tum").write_text("".join(f"{stamp} 0 0 0 0 0 0 1\n" for stamp in stamps))
    return folder

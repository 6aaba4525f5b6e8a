"""The doctor names what is wrong with a recording, most urgent first, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.writer import CameraExtrinsics, CameraNames, write_camera_bag
from iup_pose_ros.cli import app
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose

AHEAD = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
MOUNT = CameraExtrinsics(AHEAD)
CAMERA = CameraCalibration(Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48))
START, PERIOD = 1_700_000_000_000_000_000, 50_000_000


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Exit code and output of the doctor on a recording of 30 images."""

    def examine(
        calibration: CameraCalibration = CAMERA,
        mount: CameraExtrinsics | None = MOUNT,
        names: CameraNames | None = None,
        stamp: Callable[[int], int] = lambda index: START + PERIOD * index,
        seed: Callable[[int], int] = lambda index: index,
    ) -> tuple[int, str]:
        with write_camera_bag(tmp_path / "bag", calibration, names, mount, start=stamp(0)) as bag:
            for index in range(30):
                rng = np.random.default_rng(seed(index))
                bag.write_image(stamp(index), rng.integers(0, 256, (48, 64), dtype=np.uint8))
        result = CliRunner().invoke(app, ["doctor", "--bag", str(tmp_path / "bag")])
        return result.exit_code, result.output

    return examine


def test_a_sound_recording_has_nothing_to_mend(examined: Any) -> None:
    code, output = examined()
    assert (code, output.splitlines()[1:]) == (0, ["no problems found"])


def test_an_implausible_calibration_comes_first_and_is_an_error(examined: Any) -> None:
    code, output = examined(CameraCalibration(Intrinsics(20000.0, 20000.0, 31.5, 23.5, 64, 48)), mount=None)
    assert code == 1
    lines = output.splitlines()
    assert lines[1].startswith("1. ERROR: 30 of 30 images cannot be used: fx = 20000")
    assert "no /tf_static from base_link to camera_optical" in lines[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": lambda index: index // 2}, "15 of 30 images repeat the pixels"),
        ({"stamp": lambda index: START + PERIOD * index + 30_000_000 * (index % 2)}, "irregular, 20 to 80"),
        ({"stamp": lambda index: START + 10 * PERIOD * index}, "images are 0.50 s apart"),
        (
            {"mount": CameraExtrinsics(Pose.identity()), "names": CameraNames(frame_id="camera_link")},
            "seems not to be an optical frame",
        ),
        ({"mount": CameraExtrinsics(AHEAD, "chassis")}, "no transform from base_link to camera_optical"),
    ],
)
def test_what_is_unusual_is_a_warning(examined: Any, options: dict[str, Any], words: str) -> None:
    code, output = examined(**options)
    assert code == 0
    assert words in output
    assert "ERROR" not in output


def test_a_frozen_camera_is_an_error_before_all_warnings(examined: Any) -> None:
    code, output = examined(stamp=lambda index: START + 10 * PERIOD * index, seed=lambda index: 0)
    assert code == 1
    assert output.splitlines()[1].startswith("1. ERROR: 20 of 21 images repeat the pixels of the previous")
    assert "2. warning: images are 0.50 s apart" in output


def test_recordings_without_stamps_are_an_error(examined: Any) -> None:
    code, output = examined(stamp=lambda index: 0)
    assert code == 1
    assert "1. ERROR: stamps of images are all 0 (29 of 29 steps)" in output

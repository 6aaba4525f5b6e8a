"""A recording becomes a folder from which the same recording can be made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import SequenceFolder, convert_sequence, folder_model
from iup_pose_ros.bags.sequence_writer import write_sequence
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.cli import app
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.images import decode_compressed_image


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("compressed", [True, False])
def test_folder_survives_the_way_through_a_bag_and_back(
    sequence_folder: Path, tmp_path: Path, storage: str, compressed: bool
) -> None:
    options = ["--storage", storage, *(["--compressed"] if compressed else [])]
    bag, again = str(tmp_path / "bag"), str(tmp_path / "again")
    there = CliRunner().invoke(app, ["convert", "sequence", str(sequence_folder), bag, *options])
    back = CliRunner().invoke(app, ["convert", "bag", bag, again, "--gt-topic", "/ground_truth"])
    assert (there.exit_code, back.exit_code) == (0, 0), there.output + back.output
    first, second = SequenceFolder.open(sequence_folder), SequenceFolder.open(again)
    assert second.stamps == first.stamps
    assert second.calibration == first.calibration
    for index in range(len(first)):
        np.testing.assert_array_equal(second.read_image(index), first.read_image(index))
    assert first.groundtruth is not None
    assert second.groundtruth is not None
    np.testing.assert_allclose(second.groundtruth.stamps, first.groundtruth.stamps, atol=1e-6)
    np.testing.assert_allclose(second.groundtruth.positions, first.groundtruth.positions, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("equidistant", (0.1, 0.01, 0.0, 0.001)),
        ("rational_polynomial", (0.1, 0.01, 0.0, 0.001, 0.0, 0.0, 0.1, 0.0)),
        ("plumb_bob", (0.1, 0.01, 0.0, 0.001, 0.002)),
    ],
)
def test_every_distortion_model_is_kept(
    make_bag: Callable[..., Path], sample: Any, tmp_path: Path, model: str, coefficients: tuple[float, ...]
) -> None:
    calibration = CameraCalibration(sample.calibration.intrinsics, coefficients, model)
    with BagReader(make_bag(calibration=calibration)) as bag:
        write_sequence(bag, tmp_path / "folder", None, lambda: None)
    assert SequenceFolder.open(tmp_path / "folder").calibration == calibration
    assert SequenceFolder.open(tmp_path / "folder").groundtruth is None


@pytest.mark.parametrize(
    ("model", "coefficients", "written"),
    [
        ("plumb_bob", (0.1, 0.01, 0.0, 0.001, 0.0, 0.0, 0.1, 0.0), "rational_polynomial"),
        ("rational_polynomial", (0.1, 0.01, 0.0, 0.001, 0.002), "radtan"),
        ("equidistant", (), "none"),
    ],
)
def test_the_number_of_coefficients_decides_on_the_model_that_is_written(
    model: str, coefficients: tuple[float, ...], written: str
) -> None:
    assert folder_model(model, coefficients) == written


@pytest.mark.parametrize("image_format", ["bayer_rggb8; png compressed", " bayer_rggb8 ;png"])
def test_compressed_bayer_mosaics_are_written_in_colour(
    sample: Any, tmp_path: Path, image_format: str
) -> None:
    mosaic = sample.picture(0, colour=False)
    message = SimpleNamespace(format=image_format, data=cv2.imencode(".png", mosaic)[1].tobytes())
    with write_camera_bag(tmp_path / "bag", sample.calibration) as bag:
        bag.write_compressed(sample.stamp(0), message.data, image_format)
    with BagReader(tmp_path / "bag") as bag:
        write_sequence(bag, tmp_path / "folder", None, lambda: None)
    written = SequenceFolder.open(tmp_path / "folder").read_image(0)
    assert written.shape == (48, 64, 3)
    np.testing.assert_array_equal(written, decode_compressed_image(message))


def test_calibration_that_changes_is_refused_and_leaves_nothing(sample: Any, tmp_path: Path) -> None:
    path = tmp_path / "bag"
    with write_camera_bag(path, sample.calibration) as bag:
        bag.write_image(sample.stamp(0), sample.picture(0))
        bag._calibration = CameraCalibration(Intrinsics(60.0, 60.0, 31.0, 23.5, 64, 48))
        bag.write_image(sample.stamp(1), sample.picture(1))
    with BagReader(path) as reader, pytest.raises(DataError, match="/camera/camera_info changes"):
        write_sequence(reader, tmp_path / "folder", None, lambda: None)
    assert [child.name for child in tmp_path.iterdir()] == ["bag"]


def test_existing_folder_is_not_overwritten(make_bag: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(app, ["convert", "bag", str(make_bag()), str(tmp_path / "folder")])
    assert result.exit_code == 2
    assert "exists already and is not overwritten" in result.stderr
    assert list((tmp_path / "folder").iterdir()) == []


def test_ground_truth_goes_to_the_images_that_it_belongs_to(sequence_folder: Path, tmp_path: Path) -> None:
    lines = (sequence_folder / "groundtruth.tum").read_text().splitlines()
    (sequence_folder / "groundtruth.tum").write_text("\n".join(lines[1:3]) + "\n")
    convert_sequence(sequence_folder, tmp_path / "bag")
    with BagReader(tmp_path / "bag") as bag:
        stamps = [messages.stamp_of(message) for message in bag.decoded("/ground_truth")]
    assert stamps == list(SequenceFolder.open(sequence_folder).stamps[1:3])


def test_skew_is_kept(make_bag: Callable[..., Path], sample: Any, tmp_path: Path) -> None:
    coefficients = (0.1, -0.05, 0.01, 0.0)
    calibration = CameraCalibration(sample.calibration.intrinsics, coefficients, "equidistant", skew=-1.5)
    with BagReader(make_bag(calibration=calibration)) as bag:
        write_sequence(bag, tmp_path / "folder", None, lambda: None)
    assert SequenceFolder.open(tmp_path / "folder").calibration == calibration
    convert_sequence(tmp_path / "folder", tmp_path / "again")
    with BagReader(tmp_path / "again") as bag:
        assert next(bag.decoded(bag.camera.info)).k[1] == -1.5


def test_rectified_images_get_the_calibration_of_p(
    make_bag: Callable[..., Path], sample: Any, tmp_path: Path
) -> None:
    calibration = CameraCalibration(sample.calibration.intrinsics, (-0.3, 0.1, 0.0, 0.0, 0.0))
    path, folder = make_bag(calibration=calibration), tmp_path / "folder"
    result = CliRunner().invoke(app, ["convert", "bag", str(path), str(folder), "--image-is-rectified"])
    assert result.exit_code == 0, result.output
    assert SequenceFolder.open(folder).calibration == sample.calibration

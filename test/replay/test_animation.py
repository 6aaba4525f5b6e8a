"""The animation of a run: as many pictures as images shown, the path growing with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from typer.testing import CliRunner, Result

from iup_pose_ros.cli import app

HEIGHT = 320
BLUE = np.array([31, 111, 180])  # of the estimated path


def animate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["animate", "--estimator", "epipolar_klt", *map(str, arguments)])


def pictures(path: Path) -> list[np.ndarray]:
    with Image.open(path) as animation:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation)]


def drawn_path(picture: np.ndarray) -> int:
    """Pixels of the path's colour in the panel beside the image, without its legend."""
    panel = picture[80:, -HEIGHT:].astype(int)
    return int((np.abs(panel - BLUE).max(axis=2) < 40).sum())


@pytest.mark.parametrize("name", ["run.webp", "run.gif"])
def test_the_path_grows_beside_the_debug_image(
    bag: Path, sequence_folder: Path, tmp_path: Path, name: str
) -> None:
    result = animate(bag, tmp_path / name, "--gt", sequence_folder / "groundtruth.tum", "--every", "8")
    assert result.exit_code == 0, result.output
    shown = pictures(tmp_path / name)
    assert len(shown) == 6  # of 48 images
    assert shown[0].shape == (HEIGHT, round(HEIGHT * 320 / 240) + HEIGHT, 3)
    lengths = [drawn_path(picture) for picture in shown]
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0] + 100
    assert np.std(shown[0][:, :HEIGHT]) > 10.0  # the image, not an empty field


def test_without_ground_truth_the_unit_is_the_odometrys(bag: Path, tmp_path: Path) -> None:
    assert animate(bag, tmp_path / "run.webp", "--every", "16").exit_code == 0
    assert len(pictures(tmp_path / "run.webp")) == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("run.mp4", "has the format '.mp4'; accepted are .webp, .gif"),
        ("missing/run.webp", "cannot write"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(bag: Path, tmp_path: Path, name: str, sentence: str) -> None:
    result = animate(bag, tmp_path / name, "--every", "16")
    assert result.exit_code == 2
    assert sentence in result.output

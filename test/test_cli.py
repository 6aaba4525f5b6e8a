"""The command line: help without heavy imports, errors as one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from iup_pose_ros.cli import app

HELP_SCRIPT = """
import sys
from typer.testing import CliRunner
from iup_pose_ros.cli import app
result = CliRunner().invoke(app, sys.argv[1:])
print(result.output)
print("heavy:", sorted({"cv2", "matplotlib", "numpy", "rclpy", "scipy", "torch"} & sys.modules.keys()))
sys.exit(result.exit_code)
"""


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["--help"], ["bench", "demo", "evaluate", "info", "train"]),
        (["demo", "--help"], ["--bag", "--gt", "--sequence", "--offline"]),
        (["evaluate", "--help"], ["pairs", "stress", "megadepth", "scannet"]),
        (["bench", "--help"], ["--parts", "--sizes", "--json", "--plot"]),
        (["calibrate", "--help"], ["--output"]),
        (["train", "--help"], ["--config", "--resume"]),
    ],
)
def test_help_needs_neither_ros_nor_torch(arguments: list[str], mentioned: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", HELP_SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    assert all(word in result.stdout for word in mentioned)
    assert "heavy: []" in result.stdout


def test_info_is_json_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iup_pose_ros.info.collect_info", lambda: {"versions": {"python": "3.12"}})
    result = CliRunner().invoke(app, ["info", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"versions": {"python": "3.12"}}


@pytest.fixture
def pair_folder(tmp_path: Path) -> Path:
    """One pair: noise seen by a camera at rest, so that estimators fail or answer at random, and say so."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    folder = tmp_path / "made_up"
    folder.mkdir()
    header = "image0,image1,fx0,fy0,cx0,cy0,fx1,fy1,cx1,cy1,width0,height0,width1,height1"
    camera, size = "150,150,79.5,59.5", "160,120"
    row = f"0.png,1.png,{camera},{camera},{size},{size},0,0,0,1,0,0,-1,0.9,0"
    (folder / "pairs.csv").write_text(f"{header},qx,qy,qz,qw,tx,ty,tz,overlap_hint,metric\n{row}\n")
    for name in ("0.png", "1.png"):
        cv2.imwrite(str(folder / name), noise)
    return folder


def test_pairs_are_evaluated_into_one_documented_shape(pair_folder: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "pairs", str(pair_folder), "--json", str(tmp_path / "figures.json")]
    result = CliRunner().invoke(app, [*arguments, "--estimator", "epipolar_klt, epipolar_sift"])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())["estimators"]
    assert set(figures) == {"epipolar_klt", "epipolar_sift"}
    for values in figures.values():
        assert values["pooled"]["pairs"] == values["sets"]["made_up"]["pairs"] == 1
        assert set(values["pooled"]["auc_unfolded"]) == {"5", "10", "20"}
    assert "made_up" in result.stdout


def test_folder_without_pairs_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "pairs", str(tmp_path)])
    assert result.exit_code == 2
    assert "pairs.csv" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_errors_of_the_package_are_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text(f"output: {tmp_path}\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["train", "--config", str(settings)])
    assert result.exit_code == 2
    assert result.stderr == f"error: setting training_data is missing in {settings}\n"
    assert len(result.stderr.splitlines()) == 1

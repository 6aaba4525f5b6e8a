"""Help of the commands on recordings: complete, and without what takes time to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from typer.testing import CliRunner
from iup_pose_ros.cli import app
result = CliRunner().invoke(app, sys.argv[1:], env={"COLUMNS": "200"})
print(result.output)
heavy = {"cv2", "matplotlib", "numpy", "rclpy", "rosbags", "scipy", "torch"}
print("heavy:", sorted(heavy & sys.modules.keys()))
sys.exit(result.exit_code)
"""
EVALUATE_OPTIONS = [
    *("--gt", "--gt-topic", "--gt-frame", "--image-topic", "--info-topic", "--estimators"),
    *("--real-time", "--every-frame", "--rate", "--recorded", "--report", "--weights", "--device"),
]


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["evaluate", "bag"], EVALUATE_OPTIONS),
        (["convert"], ["sequence", "bag"]),
        (["convert", "sequence"], ["--storage", "--compressed"]),
        (["convert", "bag"], ["--gt-topic", "--image-topic"]),
    ],
)
def test_help_names_every_option_at_once(arguments: list[str], mentioned: list[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, *arguments, "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [option for option in mentioned if option not in run.stdout] == []
    assert "heavy: []" in run.stdout

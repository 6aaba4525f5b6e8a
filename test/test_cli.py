"""The command line: help without heavy imports, errors as one sentence."""

from __future__ import annotations

import json
import subprocess
import sys

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
        (["--help"], ["demo", "evaluate", "info", "train"]),
        (["demo", "--help"], ["--bag", "--gt", "--sequence", "--offline"]),
        (["evaluate", "--help"], ["pairs"]),
        (["train", "--help"], ["overfit"]),
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


def test_errors_of_the_package_are_a_sentence_and_exit_code_2() -> None:
    result = CliRunner().invoke(app, ["train", "overfit", "--preset", "smal"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: unknown preset 'smal'")
    assert len(result.stderr.splitlines()) == 1

"""Launch files run in the system's Python, where this package's environment does not exist."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from launch_standins import ROOT

FILES = sorted((ROOT / "launch").glob("*.launch.py"))
AVAILABLE = {"launch", "launch_ros", "yaml", *sys.stdlib_module_names}


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_launch_files_import_only_what_every_distribution_has(path):
    assert imported(path) <= AVAILABLE


def test_there_are_launch_files():
    assert len(FILES) == 3

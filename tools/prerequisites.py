"""What a machine must bring before the environment can be built, and one sentence for what is missing.

Kept readable by Python 3.7, so that an old interpreter reaches the sentence that says it is too old.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

MINIMUM_PYTHON = (3, 10)
COMMANDS = {"gcc": "gcc", "g++": "g++", "cmake": "cmake"}  # command -> Debian package that brings it


class SetupError(Exception):
    """The environment cannot be built; the message is one sentence that says what to do."""


def check_python(version: tuple[int, ...], executable: str) -> None:
    """Raises SetupError when the interpreter is older than the package supports."""
    if version[:2] < MINIMUM_PYTHON:
        needed = ".".join(map(str, MINIMUM_PYTHON))
        found = ".".join(map(str, version[:3]))
        raise SetupError(
            f"Python {needed} or newer is needed and {executable} is {found}: "
            f"install a newer one and name it, for example `make demo PYTHON=python3.11`."
        )


def missing_packages() -> dict[str, str]:
    """What is absent from this machine: name -> Debian package that brings it."""
    missing = {command: package for command, package in COMMANDS.items() if shutil.which(command) is None}
    if importlib.util.find_spec("ensurepip") is None:
        missing["Python's venv module"] = "python3-venv"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing["Python's C headers"] = "python3-dev"
    return missing


def describe_missing(missing: dict[str, str]) -> str:
    """One sentence that names what is missing and how to install it."""
    names = list(missing)
    listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    verb = "is" if len(names) == 1 else "are"
    install = "apt-get install " + " ".join(dict.fromkeys(missing.values()))
    return f"{listed} {verb} missing: install with `{install}` (Debian, Ubuntu) and run make again."


def check_machine() -> None:
    """Raises SetupError unless Python, compilers, cmake and headers are there."""
    check_python(tuple(sys.version_info[:3]), sys.executable)
    missing = missing_packages()
    if missing:
        raise SetupError(describe_missing(missing))

"""Mutation test of every published covariance: each term is removed or doubled, and a test has to fail.

    python tools/mutate_covariance.py [--only TEXT]

The mutants are listed in covariance_mutants.yaml and applied to a temporary copy of package and tests.
Prints those that no test notices; ends with exit code 1 if there are any, or if one does not fit the source.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MUTANTS_FILE = Path(__file__).resolve().parent / "covariance_mutants.yaml"
TIMEOUT = 300.0  # seconds for the tests of one mutant; an endless loop counts as noticed
LIBRARIES = ("cv2", "hypothesis", "numpy", "poselib", "scipy.optimize", "scipy.stats", "torch")


class Mutant(NamedTuple):
    """A change of one place of a module.

    Attributes:
        module: path below the package.
        line: source text that occurs exactly once in the module.
        text: part of ``line`` that is replaced, occurring exactly once in it.
        replacement: what ``text`` becomes.
    """

    module: str
    line: str
    text: str
    replacement: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on every mutant; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only modules whose path contains this text")
    only: str = parser.parse_args(arguments).only
    noticed: Counter[bool] = Counter()
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="iup_pose_ros_mutants_") as folder:
        copy = Path(folder)
        _copy_sources(copy)
        for module, tests, mutants in read_mutants():
            if only not in module:
                continue
            if not _tests_pass(copy, tests):
                print(f"{module}: its tests fail without any change", flush=True)
                return 1
            for mutant in mutants:
                is_noticed = _is_noticed(copy, mutant, tests)
                noticed[is_noticed] += 1
                if not is_noticed:
                    change = f"{mutant.line!r}: {mutant.text!r} -> {mutant.replacement!r}"
                    print(f"SURVIVES {module}: {change}", flush=True)
            print(f"{module}: done, {noticed[True]} noticed, {noticed[False]} survive so far", flush=True)
    print(f"{noticed[True]} of {noticed.total()} mutants are noticed")
    return 1 if noticed[False] or not noticed else 0


def read_mutants() -> Iterator[tuple[str, list[str], list[Mutant]]]:
    """Yield each module, the tests that must notice its mutants, and the mutants."""
    for module, entry in yaml.safe_load(MUTANTS_FILE.read_text(encoding="utf-8")).items():
        changes = entry["changes"]
        yield module, entry["tests"], [Mutant(module, a, b, c) for a, b, *each in changes for c in each]


def _copy_sources(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("iup_pose_ros", "test", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


def _is_noticed(folder: Path, mutant: Mutant, tests: Sequence[str]) -> bool:
    """Return whether a test fails on the changed module, which is restored afterwards."""
    path = folder / "iup_pose_ros" / mutant.module
    original = path.read_text()
    path.write_text(mutated(original, mutant))
    try:
        return not _tests_pass(folder, tests)
    finally:
        path.write_text(original)


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source text with the mutant's change.

    Raises:
        SystemExit: the place is not found exactly once; the mutant has to be adapted to the source.
    """
    lines = source.splitlines()
    places = [number for number, line in enumerate(lines) if mutant.line in line]
    if len(places) != 1 or lines[places[0]].count(mutant.text) != 1:
        raise SystemExit(
            f"{mutant.module}: {mutant.text!r} on a line with {mutant.line!r} is not found exactly once"
        )
    lines[places[0]] = lines[places[0]].replace(mutant.text, mutant.replacement)
    return "\n".join(lines) + "\n"


def _tests_pass(folder: Path, tests: Sequence[str]) -> bool:
    """Return whether tests pass in a fork of this process, which has imported the libraries already."""
    log = folder / "pytest.log"
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(folder, tests, log))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return False
    if process.exitcode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        # A mutant may also break what a test module computes while it is imported.
        if process.exitcode == pytest.ExitCode.INTERRUPTED and "error during collection" in log.read_text():
            return False
        raise SystemExit(f"pytest ended with {process.exitcode}:\n{log.read_text()}")
    return process.exitcode == pytest.ExitCode.OK


def _run_tests(folder: Path, tests: Sequence[str], log: Path) -> None:
    with log.open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.chdir(folder)
    # Compiled modules of an earlier mutant would be taken for this one: same name, size and second.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    package = importlib.import_module("iup_pose_ros")
    assert Path(str(package.__file__)).is_relative_to(folder), package.__file__
    options = ["-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*options, *(f"test/{test}" for test in tests)]))


if __name__ == "__main__":
    sys.exit(main())

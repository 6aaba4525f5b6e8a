"""Steps that are skipped while their inputs stay the same."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prerequisites import SetupError

LOG_LINES_SHOWN = 30


@dataclass(frozen=True)
class Step:
    """One line of the set-up: `run` is called when a file of `inputs` or a text of `facts` has changed."""

    name: str
    run: Callable[[], None]
    inputs: tuple[Path, ...] = ()
    facts: tuple[str, ...] = ()


def source_files(folder: Path) -> tuple[Path, ...]:
    """Every file below a folder, sorted, without what Python generates."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return tuple(sorted(files))


def digest(step: Step, previous: str) -> str:
    """Fingerprint of a step: its name, facts, input files and the fingerprint of the step before it."""
    fingerprint = hashlib.sha256(previous.encode())
    for text in (step.name, *step.facts):
        fingerprint.update(f"{text}\0".encode())
    for path in step.inputs:
        fingerprint.update(f"{path.name}\0".encode())
        fingerprint.update(path.read_bytes())
    return fingerprint.hexdigest()


def run_steps(steps: Sequence[Step], stamps: Path) -> int:
    """Runs the steps whose inputs changed, in order, and returns how many ran.

    Each finished step leaves a stamp with its fingerprint in the folder `stamps`; a failed one does not.
    """
    previous, ran = "", 0
    for number, step in enumerate(steps, start=1):
        previous = digest(step, previous)
        stamp = stamps / f"{number}"
        if stamp.is_file() and stamp.read_text() == previous:
            continue
        print(f"[{number}/{len(steps)}] {step.name} ...", end="", flush=True)
        start = time.monotonic()
        try:
            step.run()
        except (SetupError, KeyboardInterrupt) as reason:
            print(" interrupted" if isinstance(reason, KeyboardInterrupt) else " failed", flush=True)
            raise
        stamps.mkdir(parents=True, exist_ok=True)
        stamp.write_text(previous)
        print(f" {time.monotonic() - start:.0f} s", flush=True)
        ran += 1
    return ran


def run_quietly(command: Iterable[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Runs a command and returns its output; shows the output's end only when the command fails."""
    arguments = [str(argument) for argument in command]
    done = subprocess.run(
        arguments,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-LOG_LINES_SHOWN:])
        raise SetupError(f"`{' '.join(arguments)}` failed with exit status {done.returncode}:\n{tail}")
    return done.stdout

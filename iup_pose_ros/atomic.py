"""Atomic creation of files and folders: they appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from iup_pose_ros.errors import DataError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it is renamed to ``path`` when the context ends without an error."""
    # A name that nobody can foresee, and prepare as a link to another place.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_directory(path: Path, what: str) -> Iterator[Path]:
    """Yield a path to write to; it is renamed to ``path`` when the context ends without an error.

    Args:
        path: the folder; its parent folders are created.
        what: description of ``path`` for error messages.

    Raises:
        DataError: ``path`` exists or cannot be written.
    """
    if path.exists():
        raise DataError(f"{path} exists already and is not overwritten")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise DataError(f"{what} {path} cannot be written: {error.strerror}") from error
    try:
        yield scratch / path.name
        (scratch / path.name).rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

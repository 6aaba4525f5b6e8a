"""Folders that appear when they are written entirely, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from iup_pose_ros.errors import DataError


@contextlib.contextmanager
def workshop_beside(path: Path, what: str) -> Iterator[Path]:
    """A path to write to, in the same file system: rename it to ``path`` when it is whole.

    What is left there when the context ends is removed.

    Args:
        path: where the folder is to appear; the folders above it are made.
        what: ``path`` is, for the message.

    Raises:
        DataError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise DataError(f"{what} {path} cannot be written: {error.strerror}") from error
    try:
        yield workshop / path.name
    finally:
        shutil.rmtree(workshop, ignore_errors=True)

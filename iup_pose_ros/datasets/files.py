"""Readers of text tables and .npz archives, whose errors name the file and the expected content."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError

# The globals that pickled object arrays (poses, file names) need; all others are rejected.
_RECONSTRUCT: Any = np.zeros(0).__reduce__()[0]
_SCALAR: Any = np.float64(0.0).__reduce__()[0]
_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (module, "_reconstruct"): _RECONSTRUCT
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
    **{(module, "scalar"): _SCALAR for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
}


def need(path: Path, what: str) -> Path:
    """Return the path if it exists.

    Args:
        path: file or folder.
        what: description of the expected content, for the error message.

    Raises:
        DataError: the path does not exist.
    """
    if not path.exists():
        raise DataError(f"{path} is missing: {what} is expected there")
    return path


def read_table(path: Path, columns: Sequence[str], separator: str | None = None) -> list[list[str]]:
    """Read the rows of a text table, skipping empty lines and lines that start with #.

    Args:
        path: text file.
        columns: names of the columns, for error messages; rows may have additional columns.
        separator: column separator; default: white space.

    Raises:
        DataError: the file is missing or empty, or a row has too few columns.
    """
    rows = []
    for number, line in enumerate(
        need(path, " ".join(columns)).read_text(encoding="utf-8-sig").splitlines(), start=1
    ):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        row = [value.strip() for value in line.split(separator)]
        if len(row) < len(columns):
            raise DataError(f"{path}, line {number}: {len(row)} columns; expected: {' '.join(columns)}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path} has no rows; expected: {' '.join(columns)}")
    return rows


def read_numbers(path: Path, columns: Sequence[str], separator: str | None = None) -> NDArray[np.float64]:
    """Read a table of numbers (N, len(columns)), ignoring additional columns.

    Raises:
        DataError: see ``read_table``, or a value is not a number.
    """
    rows = read_table(path, columns, separator)
    try:
        return np.array([[float(value) for value in row[: len(columns)]] for row in rows])
    except ValueError as error:
        raise DataError(f"{path}: {error}; numbers are expected: {' '.join(columns)}") from error


def read_archive(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an .npz file, including object arrays; code in the file is never executed.

    Raises:
        DataError: the file is missing or not an archive, lacks an array, or contains objects that are
            neither arrays nor numbers.
    """
    need(path, f"an .npz archive with {', '.join(names)}")
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name.removesuffix(".npy") for name in archive.namelist()]
            missing = [name for name in names if name not in found]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; found {', '.join(found)}")
            return {name: _read_array(archive, name) for name in names}
    except (zipfile.BadZipFile, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}") from error


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays and numbers and rejects all other objects."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed global; see ``pickle.Unpickler.find_class``."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}; only arrays and numbers are accepted")
        return _ALLOWED[module, name]


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        stream: Any = file
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if dtype.hasobject:
            array = _ArraysOnly(stream, encoding="latin1").load()
            if not isinstance(array, np.ndarray):
                raise pickle.UnpicklingError(f"it holds a {type(array).__name__}; an array is expected")
            return array.reshape(shape)
    with archive.open(f"{name}.npy") as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))

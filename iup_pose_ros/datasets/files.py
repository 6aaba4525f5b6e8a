"""Reading of tables and archives, with messages that say what was expected where."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError

# All that arrays of objects (poses, file names) need; a pickle that asks for more is refused.
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
    """The path, if it exists.

    Raises:
        DataError: it does not; ``what`` says what should be there.
    """
    if not path.exists():
        raise DataError(f"{path} is missing: {what} is expected there")
    return path


def read_table(path: Path, columns: Sequence[str], separator: str | None = None) -> list[list[str]]:
    """The rows of a text table; empty lines and lines that begin with # are left out.

    Raises:
        DataError: the file is missing, empty, or a row has fewer columns than named.
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
        raise DataError(f"{path} holds no row; expected: {' '.join(columns)}")
    return rows


def read_numbers(path: Path, columns: Sequence[str], separator: str | None = None) -> NDArray[np.float64]:
    """The rows (N, len(columns)) of a table of numbers; further columns are left out.

    Raises:
        DataError: as ``read_table``, or a value is no number.
    """
    rows = read_table(path, columns, separator)
    try:
        return np.array([[float(value) for value in row[: len(columns)]] for row in rows])
    except ValueError as error:
        raise DataError(f"{path}: {error}; numbers are expected: {' '.join(columns)}") from error


def read_archive(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file, arrays of objects included; no code in the file is run.

    Raises:
        DataError: the file is missing, no archive, lacks an array, or holds objects other than arrays.
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
    """Reads arrays and numbers, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}; only arrays and numbers are accepted")
        return _ALLOWED[module, name]


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            return _unpickled(file).reshape(shape)
    with archive.open(f"{name}.npy") as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))


def _unpickled(file: Any) -> NDArray[Any]:
    stream: BinaryIO = file
    array = _ArraysOnly(stream, encoding="latin1").load()
    if not isinstance(array, np.ndarray):
        raise pickle.UnpicklingError(f"it holds a {type(array).__name__} where an array is expected")
    return array

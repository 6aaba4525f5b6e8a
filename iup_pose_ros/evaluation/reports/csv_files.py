"""Metrics of the runs on a recording as CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.runs.edge_table import EdgeRow
from iup_pose_ros.evaluation.runs.summary import Metrics


def write_metrics_csv(path: Path, runs: Mapping[str, Metrics]) -> None:
    """Write one line per metric and one column per estimator; nested keys as ``nees.rotation.mean``.

    Raises:
        DataError: the file cannot be written.
    """
    columns = [dict(_flat(values)) for values in runs.values()]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    rows = [[key, *(_text(column.get(key)) for column in columns)] for key in keys]
    _write(path, [["figure", *runs], *rows])


def write_edges_csv(path: Path, runs: Mapping[str, Sequence[EdgeRow]]) -> None:
    """Write one line per estimator and keyframe edge; columns are the fields of EdgeRow.

    Raises:
        DataError: the file cannot be written.
    """
    names = [field.name for field in fields(EdgeRow)]
    rows = [
        [estimator, f"{row.previous_stamp:.9f}", f"{row.current_stamp:.9f}"]
        + [_text(getattr(row, name)) for name in names[2:]]
        for estimator, edges in runs.items()
        for row in edges
    ]
    _write(path, [["estimator", *names], *rows])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as failure:
        raise DataError(f"cannot write {path}: {failure.strerror}") from failure

"""Report of the benchmark: table, JSON, and a plot of accuracy over time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.benchmark.timing import Measurement
from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.json_document import json_value

_AUC_LIMIT = "10"  # degrees


def to_json(measurements: Sequence[Measurement], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of ``--json``: ``machine`` and ``measurements``, one dictionary per row."""
    return {"machine": json_value(machine), "measurements": [row.to_json() for row in measurements]}


def print_table(measurements: Sequence[Measurement], machine: Mapping[str, Any], console: Console) -> None:
    """Print a table of every part, what its times include and the machine."""
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, load average {machine['load_average']:.1f}; "
        "times in ms; CPU: median CPU time of all threads"
    )
    for part in dict.fromkeys(row.part for row in measurements):
        rows = [row for row in measurements if row.part == part]
        table = Table(title=part, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        for column in ("name", "image", "device", "precision"):
            table.add_column(column, no_wrap=True)
        for column in ("threads", "batch", "p50", "p90", "p99", "CPU", "MB"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*_cells(row))
        console.print(table)
        for name, timed in dict.fromkeys((row.name, row.timed) for row in rows):
            console.print(f"  {name}: {timed}", highlight=False)


def write_accuracy_plot(measurements: Sequence[Measurement], accuracy: Path, plot: Path) -> None:
    """Plot the accuracy of estimators over the median time of the benchmark, for its first size.

    Args:
        measurements: rows of the part ``estimators``; others are ignored.
        accuracy: file that `iup-pose evaluate pairs --json` has written.
        plot: image file to write.

    Raises:
        DataError: a file cannot be read or written, or no estimator is in both.
    """
    try:
        estimators = json.loads(accuracy.read_text(encoding="utf-8"))["estimators"]
        areas = {name: float(found["mean"]["auc_unfolded"][_AUC_LIMIT]) for name, found in estimators.items()}
    except (OSError, ValueError, KeyError, TypeError) as failure:
        message = f"{accuracy} is not a file of `iup-pose evaluate pairs --json`: {failure!r}"
        raise DataError(message) from failure
    times: dict[str, float] = {}
    for row in measurements:
        if row.part == "estimators" and row.name in areas:
            times.setdefault(row.name, row.percentiles["p50"])
    if not times:
        raise DataError(f"{accuracy}: no estimator of {', '.join(areas)} was measured")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, milliseconds in times.items():
        axes.plot(milliseconds, areas[name], "o")
        axes.annotate(name, (milliseconds, areas[name]), xytext=(6, 4), textcoords="offset points")
    axes.set(
        xscale="log",
        xlabel="median time of a pair, ms",
        ylabel=f"AUC at {_AUC_LIMIT} degrees, mean over sets",
    )
    axes.margins(x=0.25, y=0.15)
    axes.grid(alpha=0.3, which="both")
    try:
        figure.savefig(plot, dpi=120)
    except (OSError, ValueError) as failure:
        raise DataError(f"cannot write plot {plot}: {failure}") from failure


def _cells(row: Measurement) -> list[str]:
    conditions, samples = row.conditions, row.samples
    times = (*row.percentiles.values(), float(np.median(samples.cpu_milliseconds)))
    return [
        row.name,
        f"{conditions.width}x{conditions.height}" if conditions.width else "-",
        conditions.device,
        conditions.precision,
        str(conditions.threads or "-"),
        str(conditions.batch),
        *(f"{value:.1f}" for value in times),
        "-" if math.isnan(samples.megabytes) else f"{samples.megabytes:.0f}",
    ]

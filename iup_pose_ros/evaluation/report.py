"""Figures of a run as a JSON document and as a table on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.evaluation.calibration import SIGMAS, Consistency, nominal_coverage
from iup_pose_ros.evaluation.json_document import json_value, write_json
from iup_pose_ros.evaluation.run_record import Accuracy, RunRecord
from iup_pose_ros.evaluation.trajectory import root_mean_square
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry import TrackingState

Figures = dict[str, Any]

_MISSING = "-"
_LATENCY_MEANINGS = {"live": "image sent to state received", "offline": "odometry alone"}


def figures(record: RunRecord, accuracy: Accuracy | None) -> Figures:
    """The figures of one run, ready for JSON; None where one does not exist (no ground truth, no motion).

    Keys end in their unit: ``_m`` (unit of the ground truth), ``_deg``, ``_ms``, ``_share`` (0 to 1).
    ``rpe_*`` and ``ate_*`` are root mean squares unless they say ``median``.
    """
    offered, processed = len(record.image_stamps), len(record.frames)
    latencies = np.array([frame.latency for frame in record.frames])
    values: Figures = {
        "mode": record.mode,
        "frames": offered,
        "frames_processed": processed,
        "processed_share": processed / offered if offered else math.nan,
        "keyframes": len(record.edges) + 1 if record.edges else 0,
        "frames_dropped_busy": record.counters.get("frames_dropped_busy", 0),
        "frames_dropped_invalid": record.counters.get("frames_dropped_invalid", 0),
        "frames_not_delivered": offered - record.counters.get("frames_received", processed),
        "tracked_share": record.share(TrackingState.TRACKING, TrackingState.STATIONARY),
        "stationary_share": record.share(TrackingState.STATIONARY),
        "lost_share": record.share(TrackingState.LOST),
        "latency_ms_p50": 1e3 * _percentile(latencies, 50),
        "latency_ms_p99": 1e3 * _percentile(latencies, 99),
        "inference_ms_p50": 1e3 * _percentile(np.array([edge.inference_time for edge in record.edges]), 50),
        "frames_per_edge": float(np.mean(record.frames_per_edge)) if record.edges else math.nan,
        "estimate_farthest_from_start_units": _farthest_from_start(record),
    }
    if accuracy is not None:
        values |= _accuracy_figures(accuracy)
    return {key: json_value(value) for key, value in values.items()}


def _accuracy_figures(accuracy: Accuracy) -> Figures:
    errors = accuracy.edge_errors
    moved = accuracy.path_length > 0.0
    return {
        "path_length_m": accuracy.path_length,
        "ate_sim3_m": accuracy.ate,
        "ate_sim3_percent_of_path": 100.0 * accuracy.ate / accuracy.path_length if moved else math.nan,
        "rpe_rotation_deg_per_frame": root_mean_square(accuracy.rotation_per_frame_deg),
        "rpe_rotation_deg": root_mean_square(errors.rotation_deg),
        "rpe_rotation_deg_median": _percentile(errors.rotation_deg, 50),
        "rpe_direction_deg": root_mean_square(errors.direction_deg),
        "rpe_direction_deg_median": _percentile(errors.direction_deg, 50),
        "nees": {"rotation": _nees(accuracy.rotation), "direction": _nees(accuracy.direction)},
        "coverage": {"rotation": _coverage(accuracy.rotation), "direction": _coverage(accuracy.direction)},
    }


def write_metrics(path: Path, runs: Mapping[str, Figures], **context: str) -> None:
    """Write ``{"estimators": {name: figures}, **context}`` as JSON.

    Raises:
        DataError: the file cannot be written.
    """
    write_json(path, {**context, "estimators": dict(runs)})


def print_table(console: Console, title: str, values: Figures) -> None:
    """Print the figures of one run that exist, a line each, with what they mean and what is ideal."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("figure")
    table.add_column("value", justify="right", style="bold")
    table.add_column("meaning", style="dim")
    rows = _rows(values) + (_accuracy_rows(values) if "ate_sim3_m" in values else [])
    for label, value, meaning in rows:
        if not value.startswith(_MISSING):
            table.add_row(label, value, meaning)
    console.print(table)


Row = tuple[str, str, str]


def _rows(values: Figures) -> list[Row]:
    return [
        ("images processed", _percent(values["processed_share"]), f"of {values['frames']} images"),
        ("dropped", _dropped(values), "busy / refused / lost on the way"),
        ("tracked", _percent(values["tracked_share"]), "of the processed images"),
        ("stationary", _percent(values["stationary_share"]), "of the processed images"),
        ("lost", _percent(values["lost_share"]), "of the processed images"),
        ("keyframes", str(values["keyframes"]), _apart(values["frames_per_edge"])),
        ("latency p50", _number(values["latency_ms_p50"], 1, " ms"), _LATENCY_MEANINGS[values["mode"]]),
        ("latency p99", _number(values["latency_ms_p99"], 1, " ms"), ""),
        ("estimator p50", _number(values["inference_ms_p50"], 1, " ms"), "per pair of keyframes"),
        (
            "farthest from start",
            _number(values["estimate_farthest_from_start_units"], 3),
            "in the trajectory's own unit",
        ),
    ]


def _accuracy_rows(values: Figures) -> list[Row]:
    length = _number(values["path_length_m"], 2, " m")
    rows = [
        ("ATE after Sim(3)", _number(values["ate_sim3_m"], 4, " m"), f"RMSE on a path of {length}"),
        ("", _number(values["ate_sim3_percent_of_path"], 2, " %"), "of the path"),
        ("RPE rotation", _number(values["rpe_rotation_deg_per_frame"], 3, " deg"), "per frame"),
        ("", _number(values["rpe_rotation_deg"], 3, " deg"), f"per edge; {_median(values, 'rotation')}"),
        ("RPE direction", _number(values["rpe_direction_deg"], 2, " deg"), _direction_meaning(values)),
    ]
    for block, nees in values["nees"].items():
        rows.append((f"NEES {block}", _number(nees["mean"], 2), _nees_meaning(nees)))
    ideal = "/".join(f"{100.0 * nominal_coverage(k):.0f}" for k in SIGMAS)
    for block, shares in values["coverage"].items():
        text = "/".join(_MISSING if share is None else f"{100.0 * share:.0f}" for share in shares.values())
        rows.append((f"coverage {block}", f"{text} %", f"in 1/2/3 sigma; ideal {ideal}"))
    return rows


def _apart(frames: float | None) -> str:
    return "" if frames is None else f"{frames:.1f} images apart"


def _dropped(values: Figures) -> str:
    causes = ("frames_dropped_busy", "frames_dropped_invalid", "frames_not_delivered")
    return " / ".join(str(values[cause]) for cause in causes)


def _median(values: Figures, part: str) -> str:
    return f"median {_number(values[f'rpe_{part}_deg_median'], 2, ' deg')}"


def _direction_meaning(values: Figures) -> str:
    return f"per edge; {_median(values, 'direction')}"


def _nees_meaning(nees: Figures) -> str:
    low, high = _number(nees["interval_low"], 1), _number(nees["interval_high"], 1)
    return f"ideal {nees['ideal']} ({low} to {high}); median {_number(nees['median'], 1)}"


def _percent(share: float | None) -> str:
    return _MISSING if share is None else f"{100.0 * share:.1f} %"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return _MISSING if value is None else f"{value:.{digits}f}{unit}"


def _nees(consistency: Consistency) -> Figures:
    low, high = consistency.expected_interval
    return {
        "mean": consistency.mean,
        "median": _percentile(consistency.nees, 50),
        "ideal": consistency.dof,
        "interval_low": low,
        "interval_high": high,
    }


def _coverage(consistency: Consistency) -> Figures:
    return {f"{sigmas}_sigma": share for sigmas, share in consistency.coverage.items()}


def _farthest_from_start(record: RunRecord) -> float:
    if not record.poses:
        return math.nan
    positions = record.trajectory.positions
    return float(np.linalg.norm(positions - positions[0], axis=1).max())


def _percentile(values: Array, percent: float) -> float:
    valid = values[~np.isnan(values)]
    return float(np.percentile(valid, percent)) if len(valid) else math.nan

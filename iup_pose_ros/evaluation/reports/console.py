"""Figures of a run as a JSON document and as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.evaluation.json_document import write_json
from iup_pose_ros.evaluation.metrics.consistency import SIGMAS, nominal_coverage
from iup_pose_ros.evaluation.runs.summary import Figures

MISSING = "-"
Row = tuple[str, str, str]

_LATENCY_MEANINGS = {
    "live": "image sent to state received",
    "recorded": "camera_info recorded to state recorded",
    "offline": "odometry alone",
}


def write_metrics(path: Path, runs: Mapping[str, Figures], **context: str) -> None:
    """Write ``{"estimators": {name: figures}, **context}`` as JSON.

    Raises:
        DataError: the file cannot be written.
    """
    write_json(path, {**context, "estimators": dict(runs)})


def print_summary(console: Console, title: str, values: Figures) -> None:
    """Print the most important figures of one run, six lines at most."""
    lines = [
        title,
        f"images      {values['frames_processed']} of {values['frames']} processed, tracked "
        f"{_percent(values['tracked_share'])}, lost {_percent(values['lost_share'])}",
        f"keyframes   {values['keyframes']}, {_number(values['keyframes_per_s'], 2, ' /s')}; latency p50 "
        f"{_number(values['latency_ms_p50'], 1, ' ms')}, p99 {_number(values['latency_ms_p99'], 1, ' ms')}",
    ]
    if values["path_length_m"] is None:
        lines.append("accuracy    No ground truth: how accurate the trajectory is cannot be said.")
    else:
        nees = {block: _number(entry["mean"], 1) for block, entry in values["nees"].items()}
        ate, length = _number(values["ate_sim3_m"], 4, " m"), _number(values["path_length_m"], 1, " m")
        share = _number(values["ate_sim3_percent_of_path"], 2, " %")
        rotation = _number(values["rpe_rotation_deg_per_frame"], 3, " deg")
        lines += [
            f"accuracy    ATE after Sim(3) {ate} ({share} of {length}), rotation {rotation} per image",
            f"covariance  NEES rotation {nees['rotation']} (ideal 3), direction {nees['direction']} (2)",
        ]
    console.print(*lines, sep="\n", highlight=False, soft_wrap=True)


def print_comparison(console: Console, title: str, runs: Mapping[str, Figures]) -> None:
    """Print the figures of runs on one recording side by side, those of one run with their meaning."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("figure")
    for name in runs:
        table.add_column(name, justify="right")
    meanings: dict[str, str] = {}
    if len(runs) == 1:
        table.add_column("meaning", style="dim")
        meanings = {label: meaning for label, _, meaning in table_rows(*runs.values())}
    for label, values in comparison_rows(runs):
        table.add_row(label, *values, *([meanings[label]] if meanings else []))
    console.print(table)


def comparison_rows(runs: Mapping[str, Figures]) -> list[tuple[str, list[str]]]:
    """Label and value per run of every figure that at least one run has."""
    columns = [table_rows(values) for values in runs.values()]
    rows = [(row[0][0], [value for _, value, _ in row]) for row in zip(*columns, strict=True)]
    return [(label, values) for label, values in rows if any(value != MISSING for value in values)]


def table_rows(values: Figures) -> list[Row]:
    """Label, value and meaning of every figure; the same rows for all runs on one recording."""
    with_truth = values["path_length_m"] is not None
    return _rows(values) + (_accuracy_rows(values) if with_truth else [])


def _rows(values: Figures) -> list[Row]:
    return [
        ("images processed", _percent(values["processed_share"]), f"of {values['frames']} images"),
        ("dropped", _dropped(values), "busy / refused / lost on the way"),
        ("tracked", _percent(values["tracked_share"]), "of the processed images"),
        ("stationary", _percent(values["stationary_share"]), "of the processed images"),
        ("lost", _percent(values["lost_share"]), "of the processed images"),
        ("keyframes", str(values["keyframes"]), _apart(values["frames_per_edge"])),
        ("keyframe rate", _number(values["keyframes_per_s"], 2, " /s"), "of recorded time"),
        ("latency p50", _number(values["latency_ms_p50"], 1, " ms"), _LATENCY_MEANINGS[values["mode"]]),
        ("latency p99", _number(values["latency_ms_p99"], 1, " ms"), ""),
        ("estimator p50", _number(values["latency_ms_estimator_p50"], 1, " ms"), "per pair of keyframes"),
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
        ("ATE by path length", _number(values["ate_sim3_percent_of_path"], 2, " %"), "of the path"),
        ("ATE after SE(3)", _number(values["ate_se3_m"], 4, " m"), "RMSE, in metres of the estimate"),
        ("RPE rotation per frame", _number(values["rpe_rotation_deg_per_frame"], 3, " deg"), ""),
        (
            "RPE rotation per edge",
            _number(values["rpe_rotation_deg"], 3, " deg"),
            _median(values, "rotation"),
        ),
        (
            "RPE direction per edge",
            _number(values["rpe_direction_deg"], 2, " deg"),
            _median(values, "direction"),
        ),
    ]
    rows += [_distance_row(name, errors) for name, errors in values["rpe_per_distance"].items()]
    kitti = "over 100 to 800 m"
    rows.append(("t_rel", _number(values["kitti_t_rel_percent"], 2, " %"), kitti))
    rows.append(("r_rel", _number(values["kitti_r_rel_deg_per_m"], 4, " deg/m"), kitti))
    for block, nees in values["nees"].items():
        label = f"NEES {_spaced(block)} (ideal {nees['ideal']})"
        low, high = _number(nees["interval_low"], 1), _number(nees["interval_high"], 1)
        meaning = f"{low} to {high} if sigma is true; median {_number(nees['median'], 1)}"
        rows.append((label, _number(nees["mean"], 2), meaning))
    ideal = "/".join(f"{100.0 * nominal_coverage(k):.0f}" for k in SIGMAS)
    for block, shares in values["coverage"].items():
        label = f"coverage {_spaced(block)} (ideal {ideal})"
        rows.append((label, _coverage(shares), "share of the errors in 1/2/3 sigma"))
    return rows


def _coverage(shares: Mapping[str, float | None]) -> str:
    known = [f"{100.0 * share:.0f}" for share in shares.values() if share is not None]
    return f"{'/'.join(known)} %" if known else MISSING


def _distance_row(name: str, errors: Figures | None) -> Row:
    label = f"RPE per {_spaced(name)}"
    if errors is None:
        return label, MISSING, ""
    value = f"{_number(errors['translation_m'], 3, ' m')}, {_number(errors['rotation_deg'], 2, ' deg')}"
    return label, value, f"over {errors['segments']} stretches"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _apart(frames: float | None) -> str:
    return "" if frames is None else f"{frames:.1f} images apart"


def _dropped(values: Figures) -> str:
    causes = ("frames_dropped_busy", "frames_dropped_invalid", "frames_not_delivered")
    return " / ".join(str(values[cause]) for cause in causes)


def _median(values: Figures, part: str) -> str:
    return f"median {_number(values[f'rpe_{part}_deg_median'], 2, ' deg')}"


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100.0 * share:.1f} %"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return MISSING if value is None else f"{value:.{digits}f}{unit}"

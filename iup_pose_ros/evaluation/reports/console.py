"""Metrics of runs as a JSON document and as console tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from iup_pose_ros.evaluation.json_document import write_json
from iup_pose_ros.evaluation.metrics.consistency import SIGMAS, nominal_coverage
from iup_pose_ros.evaluation.runs.summary import Metrics

MISSING = "-"
Row = tuple[str, str, str]

_SUMMARY = (
    "images processed",
    "lost",
    "latency p50",
    "ATE after Sim(3)",
    "RPE rotation per frame",
    "RPE direction per edge",
)

_LATENCY_MEANINGS = {
    "live": "from sending the image to receiving the state",
    "recorded": "from recording camera_info to recording the state",
    "offline": "processing time",
}


def write_metrics(path: Path, runs: Mapping[str, Metrics], **context: str) -> None:
    """Write ``{"estimators": {name: metrics}, **context}`` as JSON.

    Raises:
        DataError: the file cannot be written.
    """
    write_json(path, {**context, "estimators": dict(runs)})


def print_summary(console: Console, title: str, values: Metrics) -> None:
    """Print the six most important metrics of one run, with their meaning."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column("metric")
    table.add_column("value", justify="right", style="bold")
    table.add_column("meaning", style="dim")
    for label, value, meaning in table_rows(values):
        if label in _SUMMARY:
            table.add_row(label, value, meaning)
    console.print(table)


def print_comparison(console: Console, title: str, runs: Mapping[str, Metrics]) -> None:
    """Print the metrics of runs on one recording side by side; those of one run with their meaning."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("metric")
    for name in runs:
        table.add_column(name, justify="right")
    meanings: dict[str, str] = {}
    if len(runs) == 1:
        table.add_column("meaning", style="dim")
        meanings = {label: meaning for label, _, meaning in table_rows(*runs.values())}
    for label, values in comparison_rows(runs):
        table.add_row(label, *values, *([meanings[label]] if meanings else []))
    console.print(table)


def comparison_rows(runs: Mapping[str, Metrics]) -> list[tuple[str, list[str]]]:
    """Return label and value per run of each metric that is defined for at least one run."""
    columns = [table_rows(values) for values in runs.values()]
    rows = [(row[0][0], [value for _, value, _ in row]) for row in zip(*columns, strict=True)]
    return [(label, values) for label, values in rows if any(value != MISSING for value in values)]


def table_rows(values: Metrics) -> list[Row]:
    """Return label, value and meaning of each metric; runs on the same recording have the same rows."""
    rows = _run_rows(values)
    return (
        rows if values["path_length_m"] is None else rows + _accuracy_rows(values) + _consistency_rows(values)
    )


def _run_rows(values: Metrics) -> list[Row]:
    causes = ("frames_dropped_busy", "frames_dropped_invalid", "frames_not_delivered")
    dropped = " / ".join(str(values[cause]) for cause in causes)
    frames_per_edge = values["frames_per_edge"]
    spacing = "" if frames_per_edge is None else f"every {frames_per_edge:.1f} images"
    return [
        ("images processed", _percent(values["processed_share"]), f"of {values['frames']} images"),
        ("dropped", dropped, "worker busy / rejected / not delivered"),
        ("tracked", _percent(values["tracked_share"]), "of the processed images"),
        ("stationary", _percent(values["stationary_share"]), "of the processed images"),
        ("lost", _percent(values["lost_share"]), "of the processed images"),
        ("images with a pose", _percent(values["pose_share"]), "of the processed images"),
        ("keyframes", str(values["keyframes"]), spacing),
        ("keyframe rate", _number(values["keyframes_per_s"], 2, " /s"), "of recorded time"),
        ("steps in metres", _percent(values["metric_share"]), "of the keyframe edges"),
        ("scale carried on", _percent(values["carried_scale_share"]), "of the keyframe edges: not measured"),
        ("latency p50", _number(values["latency_ms_p50"], 1, " ms"), _LATENCY_MEANINGS[values["mode"]]),
        ("latency p99", _number(values["latency_ms_p99"], 1, " ms"), ""),
        ("estimator p50", _number(values["latency_ms_estimator_p50"], 1, " ms"), "per keyframe pair"),
        (
            "maximum distance",
            _number(values["estimate_farthest_from_start_units"], 3),
            "from the start, in units of the estimate",
        ),
    ]


def _accuracy_rows(values: Metrics) -> list[Row]:
    length = _number(values["path_length_m"], 2, " m")
    ate_percent = _number(values["ate_sim3_percent_of_path"], 2, " %")
    rotation_median = _number(values["rpe_rotation_deg_median"], 2, " deg")
    direction_median = _number(values["rpe_direction_deg_median"], 2, " deg")
    rows = [
        ("ATE after Sim(3)", _number(values["ate_sim3_m"], 4, " m"), f"RMSE; path length {length}"),
        (
            "ATE of keyframes",
            _number(values["ate_sim3_keyframes_m"], 4, " m"),
            "keyframes alone, after Sim(3)",
        ),
        ("ATE by path length", ate_percent, "of the path length"),
        ("ATE after SE(3)", _number(values["ate_se3_m"], 4, " m"), "RMSE; metric runs only"),
        ("RPE rotation per frame", _number(values["rpe_rotation_deg_per_frame"], 3, " deg"), "RMSE"),
        (
            "RPE rotation per edge",
            _number(values["rpe_rotation_deg"], 3, " deg"),
            f"median {rotation_median}",
        ),
        (
            "RPE direction per edge",
            _number(values["rpe_direction_deg"], 2, " deg"),
            f"median {direction_median}",
        ),
    ]
    for name, errors in values["rpe_per_distance"].items():
        value, meaning = MISSING, ""
        if errors is not None:
            translation = _number(errors["translation_m"], 3, " m")
            value = f"{translation}, {_number(errors['rotation_deg'], 2, ' deg')}"
            meaning = f"{errors['segments']} segments"
        rows.append((f"RPE per {_spaced(name)}", value, meaning))
    kitti = "segments of 100 to 800 m"
    rows.append(("t_rel", _number(values["kitti_t_rel_percent"], 2, " %"), kitti))
    rows.append(("r_rel", _number(values["kitti_r_rel_deg_per_m"], 4, " deg/m"), kitti))
    return rows


def _consistency_rows(values: Metrics) -> list[Row]:
    rows = []
    for block, nees in values["nees"].items():
        low, high = _number(nees["interval_low"], 1), _number(nees["interval_high"], 1)
        meaning = f"consistent: {low} to {high}; median {_number(nees['median'], 1)}"
        rows.append((f"NEES {_spaced(block)} (ideal {nees['ideal']})", _number(nees["mean"], 2), meaning))
    ideal = "/".join(f"{100.0 * nominal_coverage(k):.0f}" for k in SIGMAS)
    for block, coverages in values["coverage"].items():
        known = [f"{100.0 * coverage:.0f}" for coverage in coverages.values() if coverage is not None]
        value = f"{'/'.join(known)} %" if known else MISSING
        rows.append((f"coverage {_spaced(block)} (ideal {ideal})", value, "errors within 1/2/3 sigma"))
    return rows


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100.0 * share:.1f} %"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return MISSING if value is None else f"{value:.{digits}f}{unit}"

"""The folder of files that is the report on one recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.evaluation.reports.console import write_metrics
from iup_pose_ros.evaluation.reports.csv_files import write_edges_csv, write_metrics_csv
from iup_pose_ros.evaluation.reports.html import PairImages, write_html
from iup_pose_ros.evaluation.runs.edge_table import EdgeRow, worst
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.types import Frame

_WORST_PAIRS = 4


def write_report(
    folder: Path,
    title: str,
    notes: Sequence[str],
    bag: BagReader,
    runs: Mapping[str, EvaluatedRun],
    ground_truth: Trajectory | None,
) -> None:
    """Write report.html, metrics.json, metrics.csv, edges.csv and the paths as TUM files.

    Of offline runs everything but the ``latency_`` figures in metrics.json is the same in every run.

    Args:
        folder: exists.
        title: name of the recording.
        notes: how it was evaluated, a sentence each.
        bag: the recording; read again for the images of the worst keyframe pairs.
        runs: by estimator.
        ground_truth: the camera's true path ``T_world_camera``, where known.

    Raises:
        DataError: a file cannot be written, or the recording is damaged.
    """
    write_metrics(folder / "metrics.json", {name: run.values for name, run in runs.items()})
    write_metrics_csv(folder / "metrics.csv", {name: run.reproducible_values for name, run in runs.items()})
    write_edges_csv(folder / "edges.csv", {name: run.edges for name, run in runs.items()})
    _write_paths(folder, runs, ground_truth)
    write_html(folder / "report.html", title, notes, runs, _worst_pairs(bag, runs))


def _write_paths(folder: Path, runs: Mapping[str, EvaluatedRun], ground_truth: Trajectory | None) -> None:
    for name, run in runs.items():
        write_tum(folder / f"{name}.tum", run.record.trajectory, "T_odom_camera of the optical frame")
    if ground_truth is not None:
        stamps = next(iter(runs.values())).record.image_stamps
        truth = ground_truth.at(stamps)
        write_tum(folder / "groundtruth.tum", truth, "T_world_camera at the images' stamps")


def _worst_pairs(bag: BagReader, runs: Mapping[str, EvaluatedRun]) -> dict[str, list[PairImages]]:
    chosen = {name: worst(run.edges, _WORST_PAIRS) for name, run in runs.items()}
    frames = _frames_at(bag, [row for rows in chosen.values() for row in rows])
    return {
        name: [
            PairImages(row, frames[row.previous_stamp].image, frames[row.current_stamp].image)
            for row in rows
            if {row.previous_stamp, row.current_stamp} <= frames.keys()
        ]
        for name, rows in chosen.items()
    }


def _frames_at(bag: BagReader, rows: Sequence[EdgeRow]) -> dict[float, Frame]:
    """The images of the edges, found in one more pass through the recording."""
    wanted = {stamp for row in rows for stamp in (row.previous_stamp, row.current_stamp)}
    stamps = {stamp for stamp in bag.image_stamps() if stamp * 1e-9 in wanted}
    return {frame.stamp: frame for frame in bag.frames(stamps, on_bad_image=lambda *_: None)}

"""Writing of the report folder of one recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.evaluation.reports.console import write_metrics
from iup_pose_ros.evaluation.reports.csv_files import write_edges_csv, write_metrics_csv
from iup_pose_ros.evaluation.reports.html import PairImages, write_html
from iup_pose_ros.evaluation.runs.edge_table import worst
from iup_pose_ros.evaluation.runs.evaluated_run import EvaluatedRun
from iup_pose_ros.geometry.trajectory import Trajectory

_WORST_PAIRS = 4


def write_report(
    folder: Path,
    title: str,
    notes: Sequence[str],
    bag: BagReader,
    runs: Mapping[str, EvaluatedRun],
    ground_truth: Trajectory | None,
) -> None:
    """Write report.html, metrics.json, metrics.csv, edges.csv and the trajectories as TUM files.

    For offline runs everything except the ``latency_`` metrics in metrics.json is reproducible.

    Args:
        folder: existing folder.
        title: name of the recording.
        notes: notes and warnings, one sentence each.
        bag: the recording; read again for the images of the worst keyframe pairs.
        runs: evaluated runs by estimator.
        ground_truth: trajectory ``T_world_camera``, if known.

    Raises:
        DataError: a file cannot be written, or the recording is damaged.
    """
    write_metrics(folder / "metrics.json", {name: run.values for name, run in runs.items()})
    write_metrics_csv(folder / "metrics.csv", {name: run.reproducible_values for name, run in runs.items()})
    write_edges_csv(folder / "edges.csv", {name: run.edges for name, run in runs.items()})
    for name, run in runs.items():
        write_tum(folder / f"{name}.tum", run.record.trajectory, "T_odom_camera of the optical frame")
    if ground_truth is not None:
        stamps = next(iter(runs.values())).record.image_stamps
        truth = ground_truth.at(stamps)
        write_tum(folder / "groundtruth.tum", truth, "T_world_camera at the images' stamps")
    write_html(folder / "report.html", title, notes, runs, _worst_pairs(bag, runs))


def _worst_pairs(bag: BagReader, runs: Mapping[str, EvaluatedRun]) -> dict[str, list[PairImages]]:
    """Return the worst edges of each run with their images, from one more pass over the recording."""
    chosen = {name: worst(run.edges, _WORST_PAIRS) for name, run in runs.items()}
    wanted = {
        stamp for rows in chosen.values() for row in rows for stamp in (row.previous_stamp, row.current_stamp)
    }
    stamps = {stamp for stamp in bag.image_stamps() if stamp * 1e-9 in wanted}
    frames = {frame.stamp: frame for frame in bag.frames(stamps, on_bad_image=lambda *_: None)}
    return {
        name: [
            PairImages(row, frames[row.previous_stamp].image, frames[row.current_stamp].image)
            for row in rows
            if {row.previous_stamp, row.current_stamp} <= frames.keys()
        ]
        for name, rows in chosen.items()
    }

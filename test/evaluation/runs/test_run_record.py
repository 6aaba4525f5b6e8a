"""Metrics, console table and plot of a run with known errors."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.reports.console import print_comparison, print_summary, write_metrics
from iup_pose_ros.evaluation.reports.csv_files import write_edges_csv
from iup_pose_ros.evaluation.reports.trajectory_plot import plot_run
from iup_pose_ros.evaluation.runs.accuracy import evaluate_accuracy
from iup_pose_ros.evaluation.runs.edge_table import edge_rows
from iup_pose_ros.evaluation.runs.run_record import (
    EdgeRecord,
    FrameRecord,
    RunRecord,
    StampedPose,
    from_origin,
)
from iup_pose_ros.evaluation.runs.summary import compute_metrics
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.odometry import TrackingState

SCALE, SIGMA = 0.25, 0.01
TURN = np.radians(1.0)


def ground_truth() -> Trajectory:
    """Return 41 poses on a quarter circle of 10 m radius, at 10 Hz."""
    angles = np.linspace(0.0, np.pi / 2, 41)
    positions = 10.0 * np.stack([1.0 - np.cos(angles), 0.0 * angles, np.sin(angles)], axis=1)
    return Trajectory(
        np.linspace(0.0, 4.0, 41), so3.exp(angles[:, None] * np.array([0.0, 1.0, 0.0])), positions
    )


def estimated_edge(truth: Trajectory, i: int, j: int) -> EdgeRecord:
    """Return the true motion with a scale and a rotation error of one degree about the camera's x axis."""
    motion = truth.pose(i).inverse() @ truth.pose(j)
    wrong = Pose(so3.exp(np.array([TURN, 0.0, 0.0])) @ motion.rotation, SCALE * motion.translation)
    length = np.linalg.norm(wrong.translation)
    covariance = np.diag([SIGMA * length] * 3 + [SIGMA] * 3) ** 2
    T_prev_curr = PoseWithCovariance(wrong, covariance)
    return EdgeRecord(truth.stamps[i], truth.stamps[j], T_prev_curr, False, 0.02, inlier_probability=0.75)


def run_record(lost: range = range(0)) -> RunRecord:
    """Return a run with a keyframe every 4 images: poses with a scale error, edges with a rotation error."""
    truth = ground_truth()
    start = truth.pose(0).inverse()
    edges = [estimated_edge(truth, i, i + 4) for i in range(0, 40, 4)]
    poses = []
    for index in range(4, 41, 4):
        pose = start @ truth.pose(index)
        scaled = Pose(pose.rotation, SCALE * pose.translation)
        poses.append(StampedPose(truth.stamps[index], PoseWithCovariance(scaled, np.eye(6))))
    frames = [
        FrameRecord(
            stamp,
            TrackingState.LOST if index in lost else TrackingState.TRACKING,
            "dark" if index in lost else "",
            0.01 * (1 + index % 2),
        )
        for index, stamp in enumerate(truth.stamps)
    ]
    return RunRecord(
        mode="live",
        estimator="exact",
        image_stamps=truth.stamps,
        frames=frames,
        poses=from_origin(poses, edges, Pose.identity()),
        edges=edges,
        counters={"frames_received": 40, "frames_dropped_busy": 2, "frames_dropped_invalid": 1},
    )


def test_metrics_are_those_of_the_known_errors() -> None:
    record = run_record(lost=range(10, 12))
    values = compute_metrics(record, evaluate_accuracy(record, ground_truth()))
    assert values["ate_sim3_m"] == pytest.approx(0.0, abs=1e-9)
    assert values["path_length_m"] == pytest.approx(5.0 * np.pi, rel=0.01)
    assert values["rpe_rotation_deg"] == pytest.approx(1.0)
    assert values["rpe_rotation_deg_per_frame"] == pytest.approx(0.25)
    assert values["rpe_direction_deg"] == pytest.approx(0.0, abs=1e-6)
    assert values["nees"]["rotation"]["mean"] == pytest.approx((TURN / SIGMA) ** 2)
    assert values["coverage"]["rotation"] == {"1_sigma": 1.0, "2_sigma": 1.0, "3_sigma": 1.0}
    assert values["lost_share"] == pytest.approx(2 / 41)
    assert (values["keyframes"], values["frames_per_edge"]) == (11, 4.0)
    assert values["latency_ms_p50"] == pytest.approx(10.0)
    assert values["frames_not_delivered"] == 1


def test_rows_of_the_edge_table_hold_errors_deviations_and_probability(tmp_path: Path) -> None:
    record = run_record()
    rows = edge_rows(record, evaluate_accuracy(record, ground_truth()))
    assert len(rows) == 10
    for row in rows:
        assert row.rotation_error_deg == pytest.approx(1.0)
        assert row.rotation_sigma_deg == pytest.approx(np.degrees(SIGMA))
        assert row.inlier_probability == 0.75
    unknown = replace(rows[0], inlier_probability=np.nan)
    write_edges_csv(tmp_path / "edges.csv", {"exact": [rows[0], unknown]})
    header, first, second = (line.split(",") for line in (tmp_path / "edges.csv").read_text().splitlines())
    column = header.index("inlier_probability")
    assert (first[column], second[column]) == ("0.75", "")


def test_first_keyframe_is_part_of_the_trajectory() -> None:
    record = run_record()
    assert record.trajectory.stamps[0] == 0.0
    np.testing.assert_array_equal(record.trajectory.positions[0], np.zeros(3))
    assert from_origin(record.poses, record.edges, Pose.identity()) == list(record.poses)


def test_camera_that_stands_still_has_no_trajectory_error() -> None:
    truth = ground_truth()
    still = PoseWithCovariance(Pose.identity(), np.eye(6))
    frames = [FrameRecord(stamp, TrackingState.STATIONARY, "still", 0.01) for stamp in truth.stamps]
    poses = [StampedPose(stamp, still) for stamp in truth.stamps]
    record = RunRecord("live", "any", truth.stamps, frames, poses, [])
    values = compute_metrics(record, evaluate_accuracy(record, truth))
    assert values["ate_sim3_m"] is None
    assert values["rpe_rotation_deg"] is None
    assert values["stationary_share"] == 1.0
    assert values["estimate_farthest_from_start_units"] == 0.0


def test_ground_truth_of_another_time_is_rejected_with_both_time_ranges() -> None:
    truth = ground_truth()
    later = Trajectory(truth.stamps + 100.0, truth.rotations, truth.positions)
    with pytest.raises(DataError, match=r"100\.000 to 104\.000 s.*0\.000 to 4\.000 s"):
        evaluate_accuracy(run_record(), later)


def test_edges_without_ground_truth_are_skipped() -> None:
    truth = ground_truth()
    accuracy = evaluate_accuracy(run_record(), truth.select(np.arange(21)))
    assert len(accuracy.edge_errors.rotation_deg) == 5
    assert accuracy.ate == pytest.approx(0.0, abs=1e-9)


def test_table_and_json_contain_the_metrics(tmp_path: Path) -> None:
    record = run_record()
    values = compute_metrics(record, evaluate_accuracy(record, ground_truth()))
    write_metrics(tmp_path / "metrics.json", {"exact": values}, input="circle")
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document == {"input": "circle", "estimators": {"exact": values}}
    output = io.StringIO()
    print_comparison(Console(file=output, width=100), "title", {"exact": values})
    lines = output.getvalue().splitlines()
    assert next(line for line in lines if "RPE rotation per frame" in line).split()[4:6] == ["0.250", "deg"]
    assert next(line for line in lines if "dropped" in line).split()[1:6] == ["2", "/", "1", "/", "1"]


def test_all_metrics_are_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "evaluation.md").read_text()
    record = run_record()
    values = compute_metrics(record, evaluate_accuracy(record, ground_truth()))
    assert [key for key in values if f'"{key}"' not in page] == []


@pytest.mark.parametrize(("with_truth", "count"), [(True, 6), (False, 3)])
def test_summary_has_the_most_important_metrics(with_truth: bool, count: int) -> None:
    record = run_record()
    values = compute_metrics(record, evaluate_accuracy(record, ground_truth()) if with_truth else None)
    output = io.StringIO()
    print_summary(Console(file=output, width=100), "title", values)
    title, *lines = output.getvalue().splitlines()
    assert title.strip() == "title"
    assert len(lines) == count
    assert lines[0].split()[:4] == ["images", "processed", "100.0", "%"]
    if with_truth:
        assert "0.250 deg" in lines[4]


@pytest.mark.parametrize("with_truth", [True, False])
def test_plot_is_written_with_and_without_ground_truth(with_truth: bool, tmp_path: Path) -> None:
    record = run_record(lost=range(10, 12))
    accuracy = evaluate_accuracy(record, ground_truth()) if with_truth else None
    plot_run(tmp_path / "plot.png", "title", record, accuracy)
    image = np.asarray(cv2.imread(str(tmp_path / "plot.png")))
    assert image.shape[0] > 500
    assert image.std() > 10.0


def test_unwritable_output_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write"):
        write_metrics(tmp_path / "missing" / "metrics.json", {})
    with pytest.raises(DataError, match="cannot write"):
        plot_run(tmp_path / "missing" / "plot.png", "title", run_record(), None)

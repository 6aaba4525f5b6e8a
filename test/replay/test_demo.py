"""The demo end to end: the node as its own process over DDS, and the same odometry offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import SequenceFolder
from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.cli import app
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.replay.offline import run_offline

ESTIMATOR = "epipolar_klt"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["demo", "--estimator", ESTIMATOR, *map(str, arguments)])


def in_first_camera(record: RunRecord) -> Array:
    """The poses as matrices (N, 4, 4) in the frame of the first one."""
    path = record.trajectory
    start = path.pose(0).inverse()
    return np.stack([(start @ path.pose(index)).matrix for index in range(len(path))])


@pytest.mark.slow
@pytest.mark.dds
def test_demo_plays_a_sequence_into_the_node_and_measures_its_error(
    sequence_folder: Path, tmp_path: Path
) -> None:
    result = run("--sequence", sequence_folder, "--output", tmp_path)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())["estimators"][ESTIMATOR]
    assert metrics["mode"] == "live"
    assert metrics["frames"] == 48
    assert metrics["processed_share"] > 0.2
    assert metrics["keyframes"] >= 5
    assert metrics["ate_sim3_percent_of_path"] < 2.0
    assert metrics["rpe_rotation_deg_per_frame"] < 0.3
    assert metrics["rpe_direction_deg_median"] < 5.0
    blocks = {"rotation", "direction", "integrated_rotation", "integrated_position"}
    assert set(metrics["nees"]) == set(metrics["coverage"]) == blocks
    assert metrics["latency_ms_p99"] >= metrics["latency_ms_p50"] > 0.0
    assert len(read_tum(tmp_path / "trajectory.tum")) >= metrics["keyframes"]
    assert np.asarray(cv2.imread(str(tmp_path / "trajectory.png"))).shape[1] > 1000
    assert "ATE after Sim(3)" in result.output
    assert (tmp_path / "report.html").exists()
    assert "TRACKING" in (tmp_path / f"{ESTIMATOR}.log").read_text()


@pytest.mark.slow
@pytest.mark.dds
def test_live_and_offline_runs_agree_when_nothing_is_dropped(bag: Path, tmp_path: Path) -> None:
    from iup_pose_ros.replay.live import run_live

    with BagReader(bag) as reader:
        live = run_live(reader, ESTIMATOR, lambda: None, rate=0.0, log=tmp_path / "log")
        offline = run_offline(reader, create_estimator(ESTIMATOR), lambda: None)
    assert len(live.frames) == len(offline.frames) == len(live.image_stamps)
    assert [frame.state for frame in live.frames] == [frame.state for frame in offline.frames]
    np.testing.assert_array_equal(live.trajectory.stamps, offline.trajectory.stamps)
    np.testing.assert_allclose(in_first_camera(live), in_first_camera(offline), atol=1e-6)
    assert len(live.edges) == len(offline.edges) > 4
    for ours, theirs in zip(live.edges, offline.edges, strict=True):
        assert ours.previous_stamp == theirs.previous_stamp
        np.testing.assert_allclose(
            ours.T_prev_curr.covariance, theirs.T_prev_curr.covariance, rtol=1e-4, atol=1e-9
        )


@pytest.mark.slow
def test_offline_runs_are_reproducible_and_need_no_ground_truth(bag: Path, tmp_path: Path) -> None:
    trajectories = []
    for name in ("first", "second"):
        result = run("--bag", bag, "--offline", "--output", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "No ground truth" in result.output
        trajectories.append((tmp_path / name / "trajectory.tum").read_bytes())
    assert trajectories[0] == trajectories[1]
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())["estimators"][ESTIMATOR]
    assert metrics["keyframes"] >= 5
    assert metrics["ate_sim3_m"] is None


def test_lost_tracking_fails_the_demo_but_is_still_reported(sequence_folder: Path, tmp_path: Path) -> None:
    sequence = SequenceFolder.open(sequence_folder)
    with write_camera_bag(tmp_path / "dark", sequence.calibration) as writer:
        for index, stamp in enumerate(sequence.stamps):
            image = sequence.read_image(index)
            writer.write_image(stamp, image // 255 if 20 <= index < 26 else image)
    result = run(
        "--bag",
        tmp_path / "dark",
        "--gt",
        sequence_folder / "groundtruth.tum",
        "--offline",
        "--output",
        tmp_path,
    )
    assert result.exit_code == 1
    assert "tracking was lost at" in result.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())["estimators"][ESTIMATOR]
    assert 0.0 < metrics["lost_share"] < 0.5
    assert (tmp_path / "trajectory.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bag", "missing.mcap"], "missing.mcap does not exist"),
        (["--sequence", "missing"], "missing does not exist"),
        (["--bag", "a", "--sequence", "b"], "give one"),
        (["--gt", "a.tum"], "ground truth of --bag"),
        (["--bag", "a", "--estimator", "epipolar_kit"], "estimator is 'epipolar_kit'; accepted are"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    result = run(*arguments, "--output", tmp_path)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_without_ros_the_way_out_is_named(bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "iup_pose_ros.replay.live", raising=False)
    monkeypatch.setitem(sys.modules, "sensor_msgs.msg", None)
    result = run("--bag", bag, "--output", tmp_path)
    assert result.exit_code == 2
    assert "run without ROS: --every-frame, in the demo --offline" in result.stderr

"""`iup-pose evaluate bag` end to end: figures, files, agreement of its ways to run, and refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.sequence import SequenceFolder
from iup_pose_ros.bags.trajectory_io import read_tum, write_tum
from iup_pose_ros.bags.writer import write_camera_bag
from iup_pose_ros.cli import app
from iup_pose_ros.errors import NodeProcessError

ESTIMATOR = "epipolar_klt"
FILES = {
    "report.html",
    "metrics.json",
    "metrics.csv",
    "edges.csv",
    f"{ESTIMATOR}.tum",
    "groundtruth.tum",
}
KEYS = {
    "ate_sim3_m",
    "rpe_rotation_deg_per_frame",
    "rpe_direction_deg",
    "tracked_share",
    "keyframes",
    "frames",
    "latency_ms_p50",
    "latency_ms_p99",
    "coverage",
    "nees",
}


def evaluate(bag: Path, *arguments: str | Path, estimators: str = ESTIMATOR) -> Result:
    command = ["evaluate", "bag", str(bag), "--estimators", estimators, *map(str, arguments)]
    return CliRunner().invoke(app, command)


def metrics(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "metrics.json").read_text())
    assert set(document) == {"estimators"}
    return document["estimators"]


def without_latency(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if not key.startswith("latency_")}


@pytest.fixture(scope="module")
def report(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the flight against its ground-truth topic."""
    folder = tmp_path_factory.mktemp("report")
    result = evaluate(bag, "--gt-topic", "/ground_truth", "--report", folder)
    assert result.exit_code == 0, result.output
    assert "ATE after Sim(3)" in result.output
    return folder


def test_report_holds_every_file_and_the_documented_figures(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == FILES
    values = metrics(report)[ESTIMATOR]
    assert values.keys() >= KEYS
    assert (values["frames"], values["mode"]) == (48, "offline")
    assert values["ate_sim3_percent_of_path"] < 2.0
    assert values["rpe_rotation_deg_per_frame"] < 0.3
    assert values["rpe_direction_deg_median"] < 5.0
    assert values["rpe_per_distance"]["1_m"]["segments"] >= 1
    assert values["rpe_per_distance"]["10_m"] is None
    assert values["kitti_t_rel_percent"] is None
    assert values["ate_se3_m"] is None
    for block in (values["nees"], values["coverage"]):
        assert set(block) == {"rotation", "direction", "integrated_rotation", "integrated_position"}
    lines = (report / "edges.csv").read_text().splitlines()
    assert len(lines) == values["keyframes"]
    assert lines[0].startswith("estimator,previous_stamp,current_stamp,frames,rotation_error_deg")
    table = dict(line.split(",") for line in (report / "metrics.csv").read_text().splitlines())
    assert float(table["ate_sim3_m"]) == pytest.approx(values["ate_sim3_m"], rel=1e-6)
    assert float(table["nees.rotation.mean"]) == pytest.approx(values["nees"]["rotation"]["mean"], rel=1e-6)


@pytest.mark.slow
def test_second_run_writes_the_same_bytes(report: Path, bag: Path, tmp_path: Path) -> None:
    assert evaluate(bag, "--gt-topic", "/ground_truth", "--report", tmp_path).exit_code == 0
    for name in FILES - {"metrics.json"}:
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes(), name
    first, second = (without_latency(metrics(folder)[ESTIMATOR]) for folder in (report, tmp_path))
    assert first == second


def test_evo_finds_the_same_error_in_the_exported_paths(report: Path, tmp_path: Path) -> None:
    evo = Path(sys.executable).parent / "evo_ape"
    if not evo.exists():
        pytest.skip("evo, the oracle of this test, is not installed")
    command: list[str | Path] = [
        evo,
        "tum",
        report / "groundtruth.tum",
        report / f"{ESTIMATOR}.tum",
        "--align",
        "--correct_scale",
    ]
    # evo writes its settings into the home folder
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path), "PATH": ""}
    )
    found = re.search(r"rmse\s+([\d.]+)", run.stdout)
    assert found is not None
    assert float(found[1]) == pytest.approx(metrics(report)[ESTIMATOR]["ate_sim3_m"], abs=2e-6)


def test_html_needs_nothing_but_itself(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert re.findall(r"(?:src|href)='(?!data:)", page) == []
    assert re.findall(r"<script|<link|@import|url\(", page) == []
    assert page.count("src='data:image/jpeg") == 2 * 4
    assert page.count("src='data:image/svg+xml") == 3
    assert len(re.findall(r"error [\d.]+ deg \(sigma [\d.]+ deg\)", page)) == 2 * 4


@pytest.mark.slow
def test_chromium_shows_the_report_without_a_network(report: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium, which shows the report, is not installed")
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,4000"]
    page = (report / "report.html").as_uri()
    subprocess.run(
        [chromium, *options, f"--screenshot={picture}", page], capture_output=True, check=True, timeout=120
    )
    shown = np.asarray(cv2.imread(str(picture)))[:, :, ::-1]
    tracking = np.abs(shown.astype(int) - (0x9E, 0xCA, 0xE1)).max(axis=2) < 4
    assert tracking.sum() > 5000, "the plot of the tracking state is not drawn"
    # The photographs of the worst pairs stand below it: the only part with many colours.
    below = shown[np.flatnonzero(tracking.any(axis=1)).max() :]
    assert len(np.unique(below[::4, ::4].reshape(-1, 3), axis=0)) > 200


def test_without_ground_truth_paths_are_reported_but_no_errors(bag: Path, tmp_path: Path) -> None:
    result = evaluate(bag, "--report", tmp_path, estimators=f"{ESTIMATOR},{ESTIMATOR}")
    assert result.exit_code == 0, result.output
    assert "could be ground truth: /ground_truth" in result.output
    values = metrics(tmp_path)[ESTIMATOR]
    assert values.keys() >= KEYS
    assert values["ate_sim3_m"] is values["coverage"] is None
    assert "ATE after" not in (tmp_path / "report.html").read_text().split("<h2>")[0]
    assert not (tmp_path / "groundtruth.tum").exists()


@pytest.mark.slow
@pytest.mark.dds
def test_node_over_dds_agrees_when_it_gets_every_image(report: Path, bag: Path, tmp_path: Path) -> None:
    truth = ("--gt-topic", "/ground_truth")
    result = evaluate(bag, *truth, "--real-time", "--rate", "0", "--report", tmp_path)
    assert result.exit_code == 0, result.output
    offline, live = metrics(report)[ESTIMATOR], metrics(tmp_path)[ESTIMATOR]
    assert live["mode"] == "live"
    for key in ("frames", "frames_processed", "keyframes", "tracked_share", "frames_dropped_busy"):
        assert live[key] == offline[key], key
    for key in ("ate_sim3_m", "rpe_rotation_deg_per_frame", "rpe_direction_deg"):
        assert live[key] == pytest.approx(offline[key], rel=1e-4), key
    for block in ("rotation", "direction"):
        assert live["nees"][block]["mean"] == pytest.approx(offline["nees"][block]["mean"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.dds
def test_images_that_the_node_had_no_time_for_are_reported(bag: Path, tmp_path: Path) -> None:
    result = evaluate(bag, "--real-time", "--rate", "60", "--report", tmp_path)
    assert result.exit_code == 0, result.output
    values = metrics(tmp_path)[ESTIMATOR]
    dropped = (
        values["frames_dropped_busy"] + values["frames_dropped_invalid"] + values["frames_not_delivered"]
    )
    assert dropped > 0
    assert values["frames_processed"] + dropped == values["frames"] == 48


def test_image_that_cannot_be_decoded_is_counted_and_left_out(sequence_folder: Path, tmp_path: Path) -> None:
    sequence = SequenceFolder.open(sequence_folder)
    with write_camera_bag(tmp_path / "bag", sequence.calibration) as writer:
        for index, stamp in enumerate(sequence.stamps[:16]):
            image = b"\x89PNG no image" if index == 9 else sequence.images[index].read_bytes()
            writer.write_compressed(stamp, image, "png")
    assert evaluate(tmp_path / "bag", "--report", tmp_path / "report").exit_code == 0
    values = metrics(tmp_path / "report")[ESTIMATOR]
    assert (values["frames"], values["frames_processed"], values["frames_dropped_invalid"]) == (16, 15, 1)


def test_camera_that_is_not_calibrated_is_one_sentence(sequence_folder: Path, tmp_path: Path) -> None:
    def uncalibrated(calibration: Any, stamp: int, frame_id: str) -> Any:
        message = camera_info(calibration, stamp, frame_id)
        message.k[:] = 0.0
        return message

    sequence = SequenceFolder.open(sequence_folder)
    camera_info = messages.camera_info_message
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "camera_info_message", uncalibrated)
        with write_camera_bag(tmp_path / "bag", sequence.calibration) as writer:
            writer.write_image(sequence.stamps[0], sequence.read_image(0))
    result = evaluate(tmp_path / "bag")
    assert result.exit_code == 2
    assert "0 of 1 images are usable" in result.stderr
    assert "camera matrix K is all zero" in result.stderr


def write_truth(sequence_folder: Path, path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The ground truth with its columns changed."""
    table = np.loadtxt(sequence_folder / "groundtruth.tum")
    np.savetxt(path, change(table), fmt="%.9f")
    return path


def test_quaternions_in_the_wrong_order_are_found_out(
    sequence_folder: Path, bag: Path, tmp_path: Path
) -> None:
    wrong = write_truth(sequence_folder, tmp_path / "wrong.tum", lambda t: t[:, [0, 1, 2, 3, 7, 4, 5, 6]])
    result = evaluate(bag, "--gt", wrong, "--report", tmp_path / "report")
    assert result.exit_code == 2
    assert "implausible" in result.stderr
    assert "the order x y z w is required" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    right = evaluate(bag, "--gt", sequence_folder / "groundtruth.tum", "--report", tmp_path / "right")
    assert right.exit_code == 0, right.output


def test_ground_truth_between_the_images_is_interpolated(
    sequence_folder: Path, bag: Path, report: Path, tmp_path: Path
) -> None:
    truth = read_tum(sequence_folder / "groundtruth.tum")
    middles = 0.5 * (truth.stamps[1:] + truth.stamps[:-1])
    write_tum(tmp_path / "between.tum", truth.at(middles))
    assert evaluate(bag, "--gt", tmp_path / "between.tum", "--report", tmp_path / "report").exit_code == 0
    ours = metrics(tmp_path / "report")[ESTIMATOR]["ate_sim3_m"]
    assert ours == pytest.approx(metrics(report)[ESTIMATOR]["ate_sim3_m"], abs=2e-3)


def truncated(bag: Path, folder: Path) -> Path:
    shutil.copytree(bag, folder)
    (file,) = folder.glob("*.mcap")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return folder


def test_truncated_bag_is_one_sentence_and_exit_code_2(bag: Path, tmp_path: Path) -> None:
    result = evaluate(truncated(bag, tmp_path / "cut"), "--report", tmp_path / "report")
    assert result.exit_code == 2
    assert "damaged or truncated" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gt", "{folder}/groundtruth.tum", "--gt-topic", "/ground_truth"], "two sources of ground truth"),
        (["--gt", "{tmp}/later.tum"], "does not overlap the images"),
        (["--gt", "{tmp}/long.tum"], "line 1: quaternion of length 2.0000; unit quaternions"),
        (["--gt", "missing.tum"], "trajectory file missing.tum cannot be read"),
        (["--gt-topic", "/camera/image"], "topics that could be it: /ground_truth"),
        (
            ["--gt-topic", "/ground_truth", "--gt-frame", "tail"],
            "no transform on /tf_static between tail and",
        ),
        (["--image-topic", "/left"], "there is no topic /left; topics: /camera/camera_info"),
        (["--info-topic", "/tf_static"], "topic /tf_static is of type tf2_msgs/msg/TFMessage"),
        (["--estimators", "epipolar_kit"], "did you mean 'epipolar_klt'"),
        (["--recorded", "{folder}", "--real-time"], "omit --real-time"),
        (["--recorded", "{bag}"], "must hold the outputs of one vo_node"),
        (["--report", "{tmp}/later.tum/report"], "report folder"),
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, sequence_folder: Path, bag: Path, tmp_path: Path
) -> None:
    write_truth(sequence_folder, tmp_path / "later.tum", lambda t: t + np.array([1e4] + [0] * 7))
    write_truth(sequence_folder, tmp_path / "long.tum", lambda t: t * np.array([1] * 4 + [2] * 4))
    places = {"folder": sequence_folder, "tmp": tmp_path, "bag": bag}
    result = evaluate(bag, *(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_death_of_the_node_is_a_failure_not_bad_input(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise NodeProcessError("the node ended with exit code 3")

    monkeypatch.setattr("iup_pose_ros.replay.bag_evaluation.run_in_node", die)
    result = evaluate(bag, "--real-time")
    assert result.exit_code == 1
    assert result.stderr == "failed: the node ended with exit code 3\n"

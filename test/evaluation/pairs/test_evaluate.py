from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from iup_pose_ros.cli import app
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import ConfigurationError, DataError, EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.evaluation.pairs.evaluate import create_estimators, evaluate_on, load_sets, splits_by_parent
from iup_pose_ros.evaluation.pairs.report import PairsReport, PairStatistics
from iup_pose_ros.evaluation.pairs.stress import evaluate_stress
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.types import Frame, Matches, RelativePose

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "pairs"
COLUMNS = (
    "image0,image1,fx0,fy0,cx0,cy0,fx1,fy1,cx1,cy1,width0,height0,width1,height1,"
    "qx,qy,qz,qw,tx,ty,tz,overlap_hint,metric"
)
CAMERA = "60,60,39.5,29.5"
STATISTICS = {
    "pairs",
    "failures",
    "median_rotation_deg",
    "median_direction_deg",
    "auc_unfolded",
    "auc_folded",
    "ms_per_pair_p50",
    "coverage",
    "nees",
    "confident_outlier_share",
    "mean_inlier_probability",
    "inlier_share",
}
# T_1_0 that every written pair has.
TRUTH = Pose(so3.exp(np.radians([1.0, -4.0, 2.0])), np.array([0.3, 0.1, -2.0]))


def write_set(folder: Path, count: int, columns: str = COLUMNS) -> Path:
    """Write pairs of uniform 80x60 images; image k has the grey level k."""
    folder.mkdir()
    pose = ",".join(str(value) for value in (*TRUTH.quaternion, *TRUTH.translation))
    rows = [f"{k}.png,{k + 1}.png,{CAMERA},{CAMERA},80,60,80,60,{pose},0.9,1" for k in range(count)]
    (folder / "pairs.csv").write_text("\n".join([columns, *rows]) + "\n")
    for k in range(count + 1):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((60, 80), k, np.uint8))
    return folder


@dataclass
class FixedEstimator:
    """Return the true pose with given errors, and fail on images with the listed grey levels."""

    turned_deg: float = 0.0
    backwards: bool = False
    fails_on: Sequence[int] = ()
    probabilities: Sequence[float] = ()
    name: str = "fixed"
    info: EstimatorInfo = field(default=EstimatorInfo("fixed"))
    seen: list[int] = field(default_factory=list)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        level = int(previous.image[0, 0, 0])
        self.seen.append(level)
        if level in self.fails_on:
            raise EstimationError("not enough matches: 0, at least 20 are required")
        turn = so3.exp(np.array([0.0, 0.0, np.radians(self.turned_deg)]))
        translation = -TRUTH.translation if self.backwards else TRUTH.translation
        T_prev_curr = Pose(TRUTH.rotation @ turn, translation / np.linalg.norm(translation)).inverse()
        sigma = np.radians(1.0)
        return RelativePose(
            T_prev_curr,
            sigma**2 * np.eye(6),
            np.full(3, sigma),
            float(sigma),
            False,
            self.name,
            inlier_probability=self.probabilities[level] if self.probabilities else None,
        )


def printed(report: PairsReport) -> str:
    """Return the tables as text."""
    console = Console(width=140, record=True, file=io.StringIO())
    report.print(console)
    return console.export_text()


def report_on(tmp_path: Path, **estimators: FixedEstimator) -> PairsReport:
    """Evaluate on one set of three pairs and one set of one pair."""
    folders = {"three": write_set(tmp_path / "three", 3), "one": write_set(tmp_path / "one", 1)}
    return evaluate_on({name: load_pairs_folder(folder) for name, folder in folders.items()}, estimators)


def test_the_json_has_the_documented_shape(tmp_path: Path):
    report_on(tmp_path, first=FixedEstimator(), second=FixedEstimator(fails_on=[0, 1, 2])).write(
        tmp_path / "out.json"
    )
    document = json.loads((tmp_path / "out.json").read_text())
    assert set(document) == {"estimators"}
    assert set(document["estimators"]) == {"first", "second"}
    for estimator in document["estimators"].values():
        assert set(estimator) == {"pooled", "mean", "splits", "sets", "inlier_reliability"}
        assert set(estimator["sets"]) == {"three", "one"}
        for statistics in (estimator["pooled"], estimator["mean"], *estimator["sets"].values()):
            assert set(statistics) == STATISTICS
            for auc in ("auc_unfolded", "auc_folded"):
                assert set(statistics[auc]) == {"5", "10", "20"}
            assert set(statistics["nees"]) == set(statistics["coverage"]) == {"rotation", "direction"}
            assert all(set(block) == {"1", "2", "3"} for block in statistics["coverage"].values())


def test_exact_poses_have_full_recall(tmp_path: Path):
    statistics = report_on(tmp_path, exact=FixedEstimator()).pooled("exact")
    assert (statistics.pairs, statistics.failures) == (4, 0)
    assert statistics.median_rotation_deg == pytest.approx(0.0, abs=1e-5)
    assert statistics.median_direction_deg == pytest.approx(0.0, abs=1e-5)
    assert statistics.auc_unfolded == pytest.approx({"5": 100.0, "10": 100.0, "20": 100.0}, abs=1e-3)
    assert statistics.coverage["rotation"] == {"1": 1.0, "2": 1.0, "3": 1.0}
    assert statistics.nees["direction"] == pytest.approx(0.0, abs=1e-6)


def test_a_direction_of_opposite_sign_is_an_error_unless_folded(tmp_path: Path):
    statistics = report_on(tmp_path, backwards=FixedEstimator(backwards=True)).pooled("backwards")
    assert statistics.median_direction_deg == pytest.approx(180.0, abs=1e-4)
    assert statistics.auc_unfolded["20"] == 0.0
    assert statistics.auc_folded["20"] == pytest.approx(100.0, abs=1e-3)


def test_the_direction_is_compared_in_the_frame_of_camera_1(tmp_path: Path):
    # A rotation error rotates the translation of T_0_1, but not that of T_1_0.
    statistics = report_on(tmp_path, turned=FixedEstimator(turned_deg=8.0)).pooled("turned")
    assert statistics.median_rotation_deg == pytest.approx(8.0)
    assert statistics.median_direction_deg == pytest.approx(0.0, abs=1e-5)
    assert statistics.nees["rotation"] == pytest.approx(64.0, rel=1e-3)
    assert statistics.coverage["rotation"]["3"] == 0.0


def test_failures_are_infinite_errors_and_null_in_json(tmp_path: Path):
    report = report_on(tmp_path, weak=FixedEstimator(fails_on=[0, 2]))
    statistics = report.to_json()["estimators"]["weak"]
    assert statistics["sets"]["one"]["failures"] == 1
    assert statistics["sets"]["one"]["median_rotation_deg"] is None
    assert statistics["sets"]["one"]["nees"]["rotation"] is None
    assert statistics["sets"]["one"]["auc_unfolded"]["20"] == 0.0
    assert statistics["pooled"]["failures"] == 3
    failed = [found.failure for found in report.results["weak"]["three"]]
    assert failed == ["not enough matches: 0, at least 20 are required", "", failed[0]]


def test_pooled_weights_pairs_equally_and_the_mean_weights_sets_equally(tmp_path: Path):
    report = report_on(tmp_path, weak=FixedEstimator(fails_on=[1, 2]))
    # One of three pairs of the first set and the only one of the second succeed.
    assert report.pooled("weak").auc_unfolded["10"] == pytest.approx(50.0, abs=1e-3)
    expected = (100.0 / 3.0 + 100.0) / 2.0
    assert report.mean_over_sets("weak").auc_unfolded["10"] == pytest.approx(expected, abs=1e-3)


def test_means_are_taken_over_the_sets_of_each_split(tmp_path: Path):
    folders = [tmp_path / "easy" / "three", tmp_path / "hard" / "one", tmp_path / "hard" / "two"]
    for folder, count in zip(folders, (3, 1, 2), strict=True):
        folder.parent.mkdir(exist_ok=True)
        write_set(folder, count)
    splits = splits_by_parent(folders)
    assert splits == {"easy": ["three"], "hard": ["one", "two"]}
    assert splits_by_parent(folders[1:]) == {}
    report = evaluate_on(load_sets(folders), {"weak": FixedEstimator(fails_on=[1])}, splits=splits)
    easy, hard = report.mean_over_splits("weak").values()
    assert (easy.pairs, easy.failures, hard.pairs, hard.failures) == (3, 1, 3, 1)
    assert easy.auc_unfolded["10"] == pytest.approx(200.0 / 3.0, abs=1e-3)
    assert hard.auc_unfolded["10"] == pytest.approx((100.0 + 50.0) / 2.0, abs=1e-3)
    assert hard.coverage["rotation"]["3"] == 1.0
    document = report.to_json()["estimators"]["weak"]
    assert document["splits"]["hard"]["auc_unfolded"]["10"] == pytest.approx(75.0, abs=1e-3)
    assert document["mean"]["auc_unfolded"]["10"] == pytest.approx((200.0 / 3.0 + 150.0) / 3.0, abs=1e-3)
    assert printed(report).index("mean over easy") < printed(report).index("mean over hard")


def test_means_leave_out_undefined_metrics(tmp_path: Path):
    report = report_on(tmp_path, weak=FixedEstimator(fails_on=[0]))
    assert np.isnan(report.sets("weak")["one"].coverage["rotation"]["3"])
    assert report.mean_over_sets("weak").coverage["rotation"]["3"] == 1.0
    assert np.isnan(report.mean_over_sets("weak").mean_inlier_probability)


def test_inlier_probabilities_are_compared_with_the_share_of_inliers(tmp_path: Path):
    right = FixedEstimator(probabilities=[0.97, 0.85, 0.5], fails_on=[1])
    wrong = FixedEstimator(turned_deg=11.0, probabilities=[0.97, 0.5, 0.5])
    report = report_on(tmp_path, right=right, wrong=wrong, silent=FixedEstimator())
    assert report.pooled("right").mean_inlier_probability == pytest.approx((0.97 + 0.5 + 0.97) / 3)
    assert (report.pooled("right").inlier_share, report.pooled("wrong").inlier_share) == (1.0, 0.0)
    bins = report.to_json()["estimators"]["right"]["inlier_reliability"]
    assert [(found["lower"], found["poses"], found["inlier_share"]) for found in bins] == [
        (0.4, 1, 1.0),
        (0.95, 2, 1.0),
    ]
    assert [found.inlier_share for found in report.inlier_reliability("wrong")] == [0.0, 0.0]
    assert report.inlier_reliability("silent") == []
    assert "0.95 to 0.99" in printed(report)
    assert "Inlier probability" not in printed(PairsReport({"silent": report.results["silent"]}))


@pytest.mark.parametrize(
    ("turned_deg", "sigma_factor", "share"), [(11.0, 1.0, 1.0), (9.0, 1.0, 0.0), (11.0, 10.0, 0.0)]
)
def test_confident_outliers_err_by_more_than_ten_degrees_and_three_sigma(
    tmp_path: Path, turned_deg: float, sigma_factor: float, share: float
):
    report = report_on(tmp_path, turned=FixedEstimator(turned_deg=turned_deg, fails_on=[0]))
    results = []
    for found in report.results["turned"]["three"]:
        wider = found.estimate and PoseWithCovariance(
            found.estimate.pose, sigma_factor**2 * found.estimate.covariance
        )
        results.append(replace(found, estimate=wider))
    statistics = PairStatistics.of(results)
    assert (statistics.failures, statistics.confident_outlier_share) == (1, share)


def test_all_estimators_get_the_same_pairs_sampled_with_the_seed(tmp_path: Path):
    sets = {"many": load_pairs_folder(write_set(tmp_path / "many", 30))}

    def sampled(seed: int) -> list[int]:
        first, second = FixedEstimator(), FixedEstimator()
        evaluate_on(sets, {"first": first, "second": second}, max_pairs=6, seed=seed)
        assert first.seen == second.seen == sorted(set(first.seen))
        return first.seen

    assert len(sampled(0)) == 6
    assert sampled(0) == sampled(0)
    assert sampled(0) != sampled(1)


def test_the_table_contains_sets_estimators_and_both_averages(tmp_path: Path):
    report = report_on(tmp_path, exact=FixedEstimator(), weak=FixedEstimator(fails_on=[0]))
    text = printed(report)
    for word in ("three", "one", "exact", "weak", "all pairs", "mean over sets", "100.0/100.0/100.0"):
        assert word in text


def test_a_missing_column_is_named(tmp_path: Path):
    folder = write_set(tmp_path / "set", 2, COLUMNS.replace("fx1,", "focal1,"))
    with pytest.raises(DataError, match="fx1"):
        load_sets([folder])


def test_a_missing_image_is_named(tmp_path: Path):
    folder = write_set(tmp_path / "set", 2)
    (folder / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate_on(load_sets([folder]), {"fixed": FixedEstimator()})


def test_a_folder_without_a_table_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"pairs\.csv"):
        load_sets([tmp_path])


def test_sets_of_the_same_name_and_an_empty_list_are_rejected(tmp_path: Path):
    (tmp_path / "other").mkdir()
    folders = [write_set(tmp_path / "set", 1), write_set(tmp_path / "other" / "set", 1)]
    with pytest.raises(DataError, match="two folders are named 'set'"):
        load_sets(folders)
    with pytest.raises(DataError, match="no folder of pairs"):
        load_sets([])


def test_an_unknown_estimator_is_rejected():
    with pytest.raises(ConfigurationError, match="epipolar_klt"):
        create_estimators(["epipolar_sift", "epipolar_lkt"])


@pytest.mark.slow
def test_accuracy_on_real_pairs_is_at_least_that_of_the_reference():
    if not SHARED.is_dir():
        pytest.skip(f"the evaluation pairs are not available: {SHARED} is optional")
    folders = [SHARED / name for name in ("kitti_06", "lund_door", "llff_fern")]
    estimators = create_estimators(["epipolar_klt", "epipolar_sift"])
    report = evaluate_on(load_sets(folders), estimators, max_pairs=5, seed=1)
    for name, minimum in (("epipolar_klt", 75.0), ("epipolar_sift", 90.0)):
        statistics = report.pooled(name)
        assert statistics.pairs == 15
        assert statistics.auc_unfolded["20"] > minimum
        assert statistics.median_rotation_deg < 0.6
        assert statistics.median_direction_deg < 2.0


def test_every_degradation_is_a_row_of_every_estimator(tmp_path: Path):
    sets = load_sets([write_set(tmp_path / "set", 3)])
    estimators = {"good": FixedEstimator(), "turned": FixedEstimator(turned_deg=30.0)}
    report = evaluate_stress(sets, estimators, ["none", "fog"])
    report.write(tmp_path / "stress.json")
    found = json.loads((tmp_path / "stress.json").read_text())["degradations"]
    assert list(found) == ["none", "fog", "all"]
    assert found["fog"]["good"]["auc_unfolded"]["5"] == pytest.approx(100.0, abs=0.1)
    assert found["fog"]["turned"]["auc_unfolded"]["20"] == 0.0
    assert found["fog"]["turned"]["coverage"]["rotation"]["3"] == 0.0
    assert found["all"]["good"]["pairs"] == 6
    assert set(found["all"]["good"]["rank_correlation"]) == {"rotation", "direction"}


def test_estimators_get_the_degraded_images(tmp_path: Path):
    sets = load_sets([write_set(tmp_path / "set", 3)])
    estimator = FixedEstimator()
    evaluate_stress(sets, {"fixed": estimator}, ["none", "fog"])
    assert estimator.seen[:3] == [0, 1, 2]
    assert min(estimator.seen[3:]) > 100


def test_failures_of_a_degradation_are_its_own(tmp_path: Path):
    sets = load_sets([write_set(tmp_path / "set", 3)])
    report = evaluate_stress(sets, {"fixed": FixedEstimator(fails_on=[0, 1, 2])}, ["none", "fog"])
    found = report.to_json()["degradations"]
    assert [found[name]["fixed"]["failures"] for name in ("none", "fog", "all")] == [3, 0, 3]
    assert found["none"]["fixed"]["rank_correlation"] == {"rotation": None, "direction": None}


def test_an_unknown_degradation_is_named_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'snow'; known are none, blur"):
        evaluate_stress({}, {}, ["blur", "snow"])


def test_the_command_prints_the_table(tmp_path: Path):
    folder = write_set(tmp_path / "set", 2)
    arguments = ["evaluate", "stress", str(folder), "--degrade", "dark, occlusion"]
    result = CliRunner().invoke(app, [*arguments, "--estimator", "epipolar_klt"])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    # Uniform images have nothing to track.
    assert ["dark", "epipolar_klt", "2/2"] in [row[:3] for row in rows]
    assert ["all", "epipolar_klt", "4/4"] in [row[:3] for row in rows]

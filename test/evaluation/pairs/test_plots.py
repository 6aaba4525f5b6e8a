from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import Consistency
from iup_pose_ros.evaluation.pairs.plots import (
    draw_inlier_reliability,
    reliability,
    sparsification,
    write_plots,
)
from iup_pose_ros.evaluation.pairs.report import PairResult, PairsReport
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance

ANY_POSE = PoseWithCovariance(Pose.identity(), np.eye(6))
LEVELS = np.array([0.2, 0.5, 0.9])


def test_consistent_errors_lie_on_the_diagonal_and_overconfident_ones_below() -> None:
    normal = np.random.default_rng(0).standard_normal((5000, 3))
    consistent = Consistency(np.square(normal).sum(axis=1), 3)
    assert reliability(consistent, LEVELS) == pytest.approx(LEVELS, abs=0.03)
    assert (reliability(Consistency(4.0 * consistent.nees, 3), LEVELS) < 0.7 * LEVELS).all()
    assert np.isnan(reliability(Consistency(np.zeros(0), 3), LEVELS)).all()


def test_sigmas_that_rank_the_errors_reach_the_oracle() -> None:
    errors = np.array([3.0, 1.0, 2.0, 8.0])
    by_sigma, oracle = sparsification(errors, sigmas=10.0 * errors)
    assert by_sigma.tolist() == oracle.tolist() == [2.5, 2.0, 1.5, 1.0]
    reversed_order, _ = sparsification(errors, sigmas=-errors)
    assert reversed_order.tolist() == [2.5, 3.0, 5.5, 8.0]


def result(rng: np.random.Generator) -> PairResult:
    truth = Pose(np.eye(3), np.array([0.0, 0.0, 1.0]))
    error = 0.02 * rng.standard_normal(3)
    estimate = Pose(so3.exp(error), np.array([0.02 * rng.standard_normal(), 0.0, 1.0]))
    covariance = 0.02**2 * np.eye(6)
    degrees = float(np.degrees(np.linalg.norm(error)))
    probability = float(rng.uniform(0.5, 1.0))
    pose = PoseWithCovariance(estimate, covariance)
    return PairResult(truth, 1.0, degrees, degrees, pose, inlier_probability=probability)


def test_inlier_probabilities_are_drawn_against_the_observed_share() -> None:
    results = [
        PairResult(Pose.identity(), 1.0, error, 0.0, ANY_POSE, inlier_probability=probability)
        for error, probability in ((2.0, 0.92), (20.0, 0.94), (3.0, 0.97), (float("inf"), 0.3))
    ]
    axes = Figure().subplots()
    draw_inlier_reliability(axes, PairsReport({"hybrid": {"set": results}, "silent": {"set": []}}))
    (bars,) = axes.containers
    points = bars[0].get_xydata()
    np.testing.assert_allclose(points, [[0.3, 0.0], [0.93, 0.5], [0.97, 1.0]])


def test_plots_skip_failed_pairs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    failed = PairResult.failed(Pose.identity(), 1.0, "too dark")
    report = PairsReport(
        {"good": {"set": [result(rng) for _ in range(30)] + [failed]}, "failing": {"set": [failed]}}
    )
    write_plots(report, tmp_path / "plots")
    for name in ("reliability", "sparsification", "inlier_probability"):
        image = cv2.imread(str(tmp_path / "plots" / f"{name}.png"))
        assert image is not None
        assert image.std() > 10.0
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write plots"):
        write_plots(report, tmp_path / "file")

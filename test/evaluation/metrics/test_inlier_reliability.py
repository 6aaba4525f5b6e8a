"""Bins of the inlier probability: bounds, means and observed shares."""

from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.evaluation.metrics.inlier_reliability import BIN_EDGES, inlier_reliability


def test_bins_hold_mean_probability_and_share_of_inliers() -> None:
    bins = inlier_reliability(np.array([0.25, 0.35, 0.3, 0.92]), np.array([True, False, False, True]))
    assert [(found.lower, found.upper, found.poses) for found in bins] == [(0.2, 0.4, 3), (0.9, 0.95, 1)]
    assert bins[0].mean_probability == pytest.approx(0.3)
    assert bins[0].inlier_share == pytest.approx(1 / 3)
    assert (bins[1].mean_probability, bins[1].inlier_share) == (0.92, 1.0)


def test_every_edge_belongs_to_the_bin_above_it_and_one_to_the_last() -> None:
    bins = inlier_reliability(np.array(BIN_EDGES), np.ones(len(BIN_EDGES), dtype=np.bool_))
    assert [found.poses for found in bins] == [1] * (len(BIN_EDGES) - 2) + [2]


def test_unknown_probabilities_are_left_out() -> None:
    bins = inlier_reliability(np.array([np.nan, 0.5]), np.array([False, True]))
    assert [(found.poses, found.inlier_share) for found in bins] == [(1, 1.0)]
    assert inlier_reliability(np.zeros(0), np.zeros(0, dtype=np.bool_)) == []


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=20_000)
    for found in inlier_reliability(probabilities, rng.random(20_000) < probabilities):
        assert found.inlier_share == pytest.approx(found.mean_probability, abs=0.05)

"""How exact the pose of the hybrid estimator is, and its covariance."""

from __future__ import annotations

import numpy as np
import pytest
from hybrid_scenes import (
    FakeNetwork,
    angles,
    disturbed,
    synthetic,
)
from two_view_scenes import Scene, direction_angle, make_scene, random_pose

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.hybrid import HybridConfig, HybridEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import GuidedTracker
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import Matches

PLAIN = EpipolarEstimator(LucasKanadeFrontEnd())
ALWAYS = HybridConfig(always_ask=True)


@pytest.mark.usefixtures("without_sift")
@pytest.mark.parametrize(("error", "smooth"), [(1.5, False), (3.0, True), (6.0, False), (15.0, False)])
def test_rough_matches_start_exact_tracks_over_a_wide_baseline(
    wide: tuple[Scene, Matches], error: float, smooth: bool
) -> None:
    scene, cells = wide
    network = FakeNetwork(disturbed(cells, error, smooth))
    found = HybridEstimator(network).estimate(scene.previous, scene.current)
    rotation, direction = angles(found, scene)
    assert rotation < 0.5
    assert direction < 2.0
    with pytest.raises(EstimationError):
        PLAIN.estimate(scene.previous, scene.current)


def test_tracks_that_decide_are_tracked_anew(video: tuple[Scene, Matches]) -> None:
    scene, cells = video
    given = disturbed(cells, 1.0, smooth=False)
    found = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, given)
    alone = PLAIN.estimate(scene.previous, scene.current, given)
    assert sum(angles(found, scene)) < 0.7 * sum(angles(alone, scene))
    assert np.all(found.sigma_R < alone.sigma_R)


@pytest.mark.usefixtures("without_sift")
def test_guided_tracks_are_tracked_anew(wide: tuple[Scene, Matches]) -> None:
    scene, cells = wide
    rough = disturbed(cells, 2.0, smooth=True)
    guided = GuidedTracker().match(scene.previous, scene.current, rough, np.ones(len(rough)))
    once = PLAIN.estimate(scene.previous, scene.current, guided)
    found = HybridEstimator(FakeNetwork(rough)).estimate(scene.previous, scene.current)
    assert sum(angles(found, scene)) < 0.9 * sum(angles(once, scene))


def test_given_matches_that_decide_give_the_pose_of_the_epipolar_solver() -> None:
    scene = synthetic()
    alone = PLAIN.estimate(scene.previous, scene.current, scene.matches)
    found = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, scene.matches)
    np.testing.assert_allclose(found.T_prev_curr.matrix, alone.T_prev_curr.matrix, atol=1e-3)
    np.testing.assert_allclose(found.covariance, alone.covariance, rtol=0.2, atol=1e-6)


def test_the_error_of_a_rolling_shutter_is_covered() -> None:
    """The rows of the second image are shifted by up to 1 % of its width."""
    scene = synthetic(noise=0.1)
    shift = 0.01 * 640.0 * (scene.matches.points_curr[:, 1] / 480.0 - 0.5)
    points = scene.matches.points_curr + np.column_stack([shift, np.zeros(len(shift))])
    tracks = Matches(scene.matches.points_prev, points)
    estimators = (HybridEstimator(FakeNetwork()), PLAIN)
    found, alone = (each.estimate(scene.previous, scene.current, tracks) for each in estimators)
    error = np.radians(angles(found, scene)[1])
    assert error < 2.0 * found.sigma_t
    assert error > 3.0 * alone.sigma_t


def test_matches_of_several_kinds_are_more_exact_together() -> None:
    """On blank images no tracks start from the agreeing matches, so that these decide together."""
    few, many = synthetic(count=40, noise=0.5, baseline=0.1), synthetic(count=200, noise=0.5, seed=6)
    alone = PLAIN.estimate(few.previous, few.current, few.matches)
    estimator = HybridEstimator(FakeNetwork(many.matches), config=ALWAYS)
    found = estimator.estimate(few.previous, few.current, few.matches)
    assert found.sigma_t < 0.5 * alone.sigma_t
    assert direction_angle(found, few) < direction_angle(alone, few)


def test_both_poses_of_a_plane_are_passed_on() -> None:
    rng = np.random.default_rng(1)
    plane = np.array([0.05, 0.1, 0.25])
    scene = make_scene(rng, random_pose(rng, 5.0), noise=0.3, plane=plane)
    found = HybridEstimator(FakeNetwork(), SigmaCalibration(direction=2.0)).estimate(
        scene.previous, scene.current, scene.matches
    )
    plain = HybridEstimator(FakeNetwork()).estimate(scene.previous, scene.current, scene.matches)
    assert len(found.hypotheses) == 2
    assert min(max(angles(hypothesis, scene)) for hypothesis in found.hypotheses) < 3.0
    for wider, hypothesis in zip(found.hypotheses, plain.hypotheses, strict=True):
        assert wider.sigma_t == pytest.approx(2.0 * hypothesis.sigma_t)


def test_calibration_widens_the_deviations(video: tuple[Scene, Matches]) -> None:
    scene, cells = video
    plain, wider = (
        HybridEstimator(FakeNetwork(cells), calibration).estimate(scene.previous, scene.current)
        for calibration in (None, SigmaCalibration(rotation=3.0, direction=2.0))
    )
    np.testing.assert_allclose(wider.sigma_R, 3.0 * plain.sigma_R, rtol=0.05)
    assert wider.sigma_t == pytest.approx(2.0 * plain.sigma_t, rel=0.05)


def test_the_same_input_gives_the_same_output(wide: tuple[Scene, Matches]) -> None:
    scene, cells = wide
    network = FakeNetwork(disturbed(cells, 6.0, smooth=False))
    first, second = (HybridEstimator(network).estimate(scene.previous, scene.current) for _ in range(2))
    np.testing.assert_array_equal(first.T_prev_curr.matrix, second.T_prev_curr.matrix)
    np.testing.assert_array_equal(first.covariance, second.covariance)

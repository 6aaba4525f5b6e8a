"""What matches say of a pose that was found without them."""

from __future__ import annotations

import numpy as np
import pytest
from two_view_scenes import make_scene, random_pose, turned

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver

SOLVER = EpipolarSolver("judge", EpipolarConfig(threshold=6.0, independent_noise=6.0))


def test_a_pose_is_judged_as_it_is_by_the_errors_of_matches():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), outliers=20)
    frames = scene.previous, scene.current
    fitted = SOLVER.fit(*frames, scene.matches)
    judged = SOLVER.covariance_at(fitted.pose.T_prev_curr, *frames, scene.matches)
    assert np.array_equal(judged.pose.T_prev_curr.matrix, fitted.pose.T_prev_curr.matrix)
    np.testing.assert_allclose(judged.pose.sigma_R, fitted.pose.sigma_R, rtol=0.3)
    assert judged.matches == len(scene.matches)
    assert 200 <= judged.inliers <= 210
    assert judged.pose.source == "judge"


def test_a_pose_is_trusted_the_less_the_worse_matches_agree_with_it():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    right, wrong = (
        SOLVER.covariance_at(turned(scene.T_prev_curr, angle), scene.previous, scene.current, scene.matches)
        for angle in (0.0, 0.3)
    )
    assert np.all(wrong.pose.sigma_R > 2.0 * right.pose.sigma_R)
    assert wrong.pose.sigma_t > 2.0 * right.pose.sigma_t


def test_a_pose_that_matches_contradict_is_not_judged():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)))
    with pytest.raises(EstimationError, match="at least 15 are required"):
        SOLVER.covariance_at(turned(scene.T_prev_curr, 60.0), scene.previous, scene.current, scene.matches)


def test_a_pose_is_refined_to_the_one_near_it_that_matches_agree_on():
    scene = make_scene(np.random.default_rng(0), random_pose(np.random.default_rng(1)), outliers=20)
    frames = scene.previous, scene.current
    solver = EpipolarSolver("solver")
    fitted = solver.fit(*frames, scene.matches)
    refined = solver.refine(turned(scene.T_prev_curr, 0.1), *frames, scene.matches)
    np.testing.assert_allclose(
        refined.pose.T_prev_curr.matrix, fitted.pose.T_prev_curr.matrix, rtol=0.0, atol=1e-4
    )
    assert refined.matches == len(scene.matches)
    assert abs(refined.inliers - fitted.inliers) < 3
    assert refined.inliers == len(refined.inlier_matches)
    with pytest.raises(EstimationError, match="at least 15 are required"):
        solver.refine(turned(scene.T_prev_curr, 60.0), *frames, scene.matches)

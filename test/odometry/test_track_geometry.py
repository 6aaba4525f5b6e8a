from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from odometry_scenes import INTRINSICS, Cloud, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.keyframes import tracked_motion
from iup_pose_ros.odometry.track_geometry import (
    StepDepths,
    fitted_rotation,
    robust_sigma,
    rotation_compensated_motion,
    step_depths,
)

small_vectors = st.tuples(*[st.floats(-0.3, 0.3)] * 3).map(np.array)


def unit(T: Pose) -> Pose:
    return Pose(T.rotation, T.translation / np.linalg.norm(T.translation))


@settings(max_examples=30, deadline=None)
@given(small_vectors, small_vectors.filter(lambda v: np.linalg.norm(v) > 0.05))
def test_exact_tracks_give_step_over_depth_and_no_residual(turn, move):
    cloud = Cloud(50)
    T = Pose(so3.exp(turn), move)
    rays = cloud.rays(Pose.identity(), T)
    depths = step_depths(rays, unit(T))
    # At the epipole nothing is known; there the sensitivity says so.
    seen = depths.sensitivity < 1.0
    np.testing.assert_allclose(depths.residual, 0.0, atol=1e-6)
    np.testing.assert_allclose(
        depths.inverse[seen], np.linalg.norm(move) / cloud.points[seen, 2], rtol=1e-6, atol=1e-9
    )


def test_scatter_of_inverse_depths_is_what_the_sensitivity_predicts():
    cloud = Cloud(40, noise=0.3)
    T = pose(0.5, 0.1, 0.3, (0.05, -0.1, 0.02))
    samples = np.array([step_depths(cloud.rays(Pose.identity(), T), unit(T)).inverse for _ in range(400)])
    predicted = 0.3 * step_depths(Cloud(40).rays(Pose.identity(), T), unit(T)).sensitivity
    np.testing.assert_allclose(samples.std(axis=0) / predicted, 1.0, atol=0.2)


@settings(max_examples=30, deadline=None)
@given(small_vectors)
def test_pure_rotation_is_found_and_leaves_no_parallax(turn):
    T = Pose(so3.exp(turn), np.zeros(3))
    rays = Cloud(100).rays(Pose.identity(), T)
    motion = tracked_motion(rays)
    assert motion.parallax < 1e-6
    np.testing.assert_allclose(motion.rotation, np.linalg.norm(turn), atol=1e-6)


def test_rotation_is_found_despite_a_third_of_moving_tracks():
    cloud = Cloud(300)
    T = Pose(so3.exp(np.array([0.02, 0.1, -0.05])), np.zeros(3))
    rays = cloud.rays(Pose.identity(), T)
    rays.current[:100, :2] += [0.1, 0.05]
    assert so3.geodesic_angle(fitted_rotation(rays), T.rotation) < 1e-3


def test_parallax_is_the_motion_in_pixels_that_rotation_does_not_explain():
    T = pose(0.4, 0.0, 0.0, (0.0, 0.1, 0.0))
    cloud = Cloud(200)
    rays = cloud.rays(Pose.identity(), T)
    motion = rotation_compensated_motion(rays, T.rotation)
    expected = INTRINSICS.fx * 0.4 / cloud.points[:, 2]
    assert np.median(np.abs(motion / expected - 1.0)) < 0.1


def test_robust_sigma_ignores_a_third_of_outliers():
    rng = np.random.default_rng(0)
    residuals = np.concatenate([rng.normal(0.0, 0.5, 1000), rng.uniform(20.0, 50.0, 300)])
    assert 0.5 < robust_sigma(residuals, 0.1) < 0.8
    assert robust_sigma(np.zeros(10), 0.1) == 0.1
    assert robust_sigma(np.zeros(0), 0.1) == 0.1


def test_inliers_are_near_their_epipolar_lines_and_not_behind_the_cameras():
    residual = np.array([0.9, -0.9, 1.1, 0.0, 0.0, 0.0])
    inverse = np.array([0.1, 0.1, 0.1, -0.19, -0.21, -0.41])
    depths = StepDepths(inverse, np.full(6, 0.2), residual)
    assert depths.inliers(1.0).tolist() == [True, True, False, True, False, False]
    assert depths.inliers(1.0, behind=2.0).tolist() == [True, True, False, True, True, False]

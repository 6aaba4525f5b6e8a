from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from two_view_scenes import (
    CAMERA,
    WIDE_CAMERA,
    Scene,
    direction_angle,
    make_scene,
    random_pose,
    rotation_error,
    unit,
)

from iup_pose_ros.demo_scene.rendered_pair import random_pair, random_scene
from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Frame, Matches, RelativePose

ESTIMATOR = EpipolarEstimator(LucasKanadeFrontEnd())
SEEDS = st.integers(0, 2**32 - 1)


def estimate(scene: Scene) -> RelativePose:
    return ESTIMATOR.estimate(scene.previous, scene.current, scene.matches)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rotation_deg=st.floats(0.0, 25.0))
def test_exact_matches_give_the_exact_pose_and_the_sign_of_its_direction(seed: int, rotation_deg: float):
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, random_pose(rng, rotation_deg), noise=0.0)
    found = estimate(scene)
    assert np.linalg.norm(rotation_error(found, scene)) < 1e-5
    assert direction_angle(found, scene) < 1e-4
    assert np.linalg.norm(found.T_prev_curr.translation) == pytest.approx(1.0)
    assert not found.metric
    assert found.source == "epipolar_klt"


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_outliers_do_not_move_the_pose(seed: int):
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, random_pose(rng), noise=0.1, outliers=100)
    found = estimate(scene)
    assert np.degrees(np.linalg.norm(rotation_error(found, scene))) < 0.5
    assert np.degrees(direction_angle(found, scene)) < 4.0


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_two_cameras_with_different_intrinsics_and_sizes_give_the_exact_pose(seed: int):
    rng = np.random.default_rng(seed)
    cameras = (CAMERA, WIDE_CAMERA)
    scene = make_scene(rng, random_pose(rng), noise=0.0, cameras=cameras, same_camera=False)
    found = estimate(scene)
    assert np.linalg.norm(rotation_error(found, scene)) < 1e-5
    assert direction_angle(found, scene) < 1e-4


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, baseline=st.sampled_from([0.0, 0.02, 0.5]), outliers=st.integers(0, 80))
def test_the_covariance_is_positive_definite_and_agrees_with_the_sigmas(
    seed: int, baseline: float, outliers: int
):
    rng = np.random.default_rng(seed)
    found = estimate(make_scene(rng, random_pose(rng), count=60, baseline=baseline, outliers=outliers))
    covariance, direction = found.covariance, found.T_prev_curr.translation
    assert np.all(np.isfinite(covariance))
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    np.testing.assert_allclose(found.sigma_R, np.sqrt(np.diag(covariance)[3:]), rtol=1e-6)
    along = direction @ covariance[:3, :3] @ direction
    across = np.trace(covariance[:3, :3]) - along
    assert along == pytest.approx(1e-6, rel=1e-3)
    assert found.sigma_t == pytest.approx(np.sqrt(across / 2.0), rel=1e-6)


@pytest.mark.parametrize("outliers", [0, 40, 160])
@pytest.mark.parametrize("seed", range(6))
def test_a_camera_that_only_turns_has_a_good_rotation_and_no_direction(seed: int, outliers: int):
    rng = np.random.default_rng(seed)
    scene = make_scene(rng, random_pose(rng), count=200, baseline=0.0, outliers=outliers)
    found = estimate(scene)
    assert np.degrees(np.linalg.norm(rotation_error(found, scene))) < 0.5
    assert found.sigma_t > np.radians(30.0)
    assert found.sigma_R.max() < np.radians(1.0)


def test_a_camera_that_does_not_move_turns_by_nothing_and_has_no_direction():
    rng = np.random.default_rng(0)
    scene = make_scene(rng, Pose(np.eye(3), np.array([0.0, 0.0, 1.0])), baseline=0.0, noise=0.0)
    found = estimate(scene)
    assert np.linalg.norm(so3.log(found.T_prev_curr.rotation)) < 1e-6
    # A direction drawn evenly from the sphere deviates by this much per axis.
    assert found.sigma_t == pytest.approx(1.211, abs=0.01)
    assert np.all(np.isfinite(found.covariance))


@pytest.mark.parametrize("seed", range(5))
def test_points_of_a_plane_leave_two_poses_and_the_covariance_spans_both(seed: int):
    rng = np.random.default_rng(seed)
    plane = np.array([0.06, 0.03, 0.16])
    truth = Pose(so3.exp(np.radians([2.0, -4.0, 1.0])), unit(np.array([0.8, 0.2, -0.5])))
    scene = make_scene(rng, truth, noise=0.3, plane=plane)
    found = estimate(scene)
    in_depth = make_scene(rng, truth, noise=0.3)
    assert found.sigma_t > 5.0 * estimate(in_depth).sigma_t
    assert direction_angle(found, scene) < 4.0 * found.sigma_t


def test_the_motion_straight_ahead_is_not_taken_for_its_reverse():
    rng = np.random.default_rng(3)
    for sign in (1.0, -1.0):
        scene = make_scene(rng, Pose(np.eye(3), np.array([0.0, 0.0, sign])), baseline=1.0)
        assert np.degrees(direction_angle(estimate(scene), scene)) < 2.0


def test_the_same_input_gives_the_same_output():
    rng = np.random.default_rng(1)
    scene = make_scene(rng, random_pose(rng), outliers=150)
    first, second = estimate(scene), estimate(scene)
    np.testing.assert_array_equal(first.T_prev_curr.matrix, second.T_prev_curr.matrix)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_too_few_matches_are_refused_by_number():
    rng = np.random.default_rng(0)
    scene = make_scene(rng, random_pose(rng), count=12)
    with pytest.raises(EstimationError, match=r"^not enough matches: 12, at least 20 are required$"):
        estimate(scene)


def test_matches_that_agree_on_nothing_are_refused_by_number():
    points = np.random.default_rng(0).uniform(0.0, 480.0, (2, 60, 2))
    scene = make_scene(np.random.default_rng(0), Pose.identity(), count=1)
    message = r"^no consistent motion: \d+ of 60 matches are inliers, at least 15"
    with pytest.raises(EstimationError, match=message):
        ESTIMATOR.estimate(scene.previous, scene.current, Matches(points[0], points[1]))


def test_matches_on_one_point_are_refused():
    scene = make_scene(np.random.default_rng(0), Pose.identity(), count=1)
    points = np.full((40, 2), 100.0)
    with pytest.raises(EstimationError, match="the matches do not determine a finite pose"):
        ESTIMATOR.estimate(scene.previous, scene.current, Matches(points, points + np.array([3.0, 1.0])))


def test_matches_on_one_line_leave_the_direction_unknown():
    scene = make_scene(np.random.default_rng(0), Pose.identity(), count=1)
    points = np.linspace((50.0, 60.0), (600.0, 400.0), 40)
    matches = Matches(points, points + np.array([3.0, 1.0]))
    found = ESTIMATOR.estimate(scene.previous, scene.current, matches)
    assert np.linalg.eigvalsh(found.covariance).min() > 0.0
    assert found.sigma_t > np.radians(30.0)


def test_the_same_view_with_four_times_the_pixels_gives_the_same_pose_and_covariance():
    rng = np.random.default_rng(5)
    scene = make_scene(rng, random_pose(rng), noise=0.5, outliers=40)
    large = CAMERA.resized(2560, 1920)
    frame = Frame(np.zeros((1920, 2560), np.uint8), large, 0.0, "camera")
    points = [4.0 * points + 1.5 for points in (scene.matches.points_prev, scene.matches.points_curr)]
    small, enlarged = estimate(scene), ESTIMATOR.estimate(frame, frame, Matches(points[0], points[1]))
    np.testing.assert_allclose(enlarged.T_prev_curr.matrix, small.T_prev_curr.matrix, atol=1e-5)
    np.testing.assert_allclose(enlarged.covariance, small.covariance, rtol=1e-2, atol=1e-8)


@pytest.mark.parametrize("name", ["epipolar_klt", "epipolar_sift"])
def test_rendered_images_give_their_pose(name: str):
    generator = torch.Generator().manual_seed(4)
    rng = np.random.default_rng(0)
    textures = [rng.integers(0, 255, (64, 80, 3), dtype=np.uint8) for _ in range(4)]
    pair = random_pair(random_scene(textures, generator), generator, 480, 360)
    fx, fy, cx, cy = (float(pair.K[0, i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    camera = Intrinsics(fx, fy, cx, cy, 480, 360)
    images = [
        (255.0 * image[0].permute(1, 2, 0)).round().byte().numpy() for image in (pair.image_0, pair.image_1)
    ]
    frames = [
        Frame(np.ascontiguousarray(image), camera, float(i), "camera") for i, image in enumerate(images)
    ]
    truth = Pose(pair.R_1_0[0].double().numpy(), pair.t_1_0[0].double().numpy()).inverse()
    found = create_estimator(name).estimate(frames[0], frames[1])
    angle = so3.geodesic_angle(found.T_prev_curr.rotation, truth.rotation)
    assert np.degrees(angle) < 0.3
    assert found.T_prev_curr.translation @ unit(truth.translation) > np.cos(np.radians(4.0))
    assert found.source == name

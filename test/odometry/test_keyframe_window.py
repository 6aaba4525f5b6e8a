"""Refinement of keyframes by bundle adjustment: accuracy, robustness, and where nothing is refined."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import INTRINSICS, Cloud, error_of, nees, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry.bundle_adjustment import FREE, Bundle
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.keyframe_window import KeyframeWindow, Refinement
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

Array = NDArray[np.float64]

CURVE = [pose(0.15 * k, 0.02 * k, 0.1 * k, turn=(0.0, 0.02 * k, 0.01 * k)) for k in range(5)]
TURN = [pose(turn=(0.0, 0.04 * k, 0.0)) for k in range(5)]
SIGMA_R, SIGMA_T = 0.004, 0.01
COVARIANCE = np.diag(np.repeat([SIGMA_T**2, SIGMA_R**2], 3))
BLACK = np.zeros((INTRINSICS.height, INTRINSICS.width), dtype=np.uint8)


def step_between(previous: Pose, current: Pose, rng: np.random.Generator | None = None) -> ScaledStep:
    """The true step, or one with errors drawn from its covariance."""
    motion = previous.inverse() @ current
    if rng is not None:
        error = rng.multivariate_normal(np.zeros(6), COVARIANCE)
        motion = Pose(so3.exp(error[3:]) @ motion.rotation, motion.translation + error[:3])
    inliers = np.ones(0, dtype=np.bool_)
    return ScaledStep(PoseWithCovariance(motion, COVARIANCE), 0.01, False, "relative", inliers)


def images(cloud: Cloud, path: Sequence[Pose]) -> list[Array]:
    """Pixels (N, 2) of all points of a cloud in each camera, with its noise."""
    seen = [INTRINSICS.project(camera.inverse().apply(cloud.points)) for camera in path]
    return [image + cloud.noise * cloud.rng.normal(size=image.shape) for image in seen]


def tracks(number: int, pixels: Array) -> Tracks:
    """Tracks of points 0 to N that start in keyframe ``number``."""
    seen = Frame(BLACK, INTRINSICS, float(number), "camera")
    ids = np.arange(len(pixels), dtype=np.int64)
    return Tracks(seen, seen, ids, pixels, pixels, len(pixels), number)


def refined(
    window: KeyframeWindow, steps: Sequence[ScaledStep], pixels: Sequence[Array], first: int = 0
) -> list[Refinement]:
    """The refined steps of consecutive keyframes from number ``first`` on."""
    found = []
    for k, step in enumerate(steps, start=first):
        before, after = tracks(k, pixels[k - first]), tracks(k + 1, pixels[k - first + 1])
        found.append(window.add(step, before, after, InverseDepths.none().of(after.ids)))
    return found


def steps_along(path: Sequence[Pose], rng: np.random.Generator | None = None) -> list[ScaledStep]:
    return [step_between(a, b, rng) for a, b in itertools.pairwise(path)]


def last_error(motion: PoseWithCovariance, path: Sequence[Pose] = CURVE) -> Array:
    return error_of(motion, path[-2].inverse() @ path[-1])


@pytest.fixture(scope="module")
def runs() -> tuple[Array, Array]:
    """Errors (40, 6) of the last step of a curve, as measured and as refined."""
    measured, found = [], []
    for seed in range(40):
        cloud = Cloud(count=150, noise=0.4, seed=seed)
        steps = steps_along(CURVE, cloud.rng)
        measured.append(last_error(steps[-1].camera))
        found.append(last_error(refined(KeyframeWindow(), steps, images(cloud, CURVE))[-1].motion))
    return np.array(measured), np.array(found)


def test_refined_steps_have_smaller_errors(runs: tuple[Array, Array]):
    measured, found = (np.sqrt(np.mean(errors**2, axis=0)) for errors in runs)
    assert np.linalg.norm(found[3:]) < 0.4 * np.linalg.norm(measured[3:])
    assert np.linalg.norm(found[:3]) < 0.7 * np.linalg.norm(measured[:3])


def test_covariance_of_the_measured_step_covers_the_refined_one(runs: tuple[Array, Array]):
    squares = [error @ np.linalg.solve(COVARIANCE, error) for error in runs[1]]
    assert np.mean(squares) < 6.0


def test_exact_images_give_the_exact_motion_and_depths():
    """The oldest keyframes are exact; the errors of the last two steps vanish but for their own weight."""
    cloud = Cloud(count=150, noise=0.0)
    steps = steps_along(CURVE[:3]) + steps_along(CURVE[2:], cloud.rng)
    found = refined(KeyframeWindow(), steps, images(cloud, CURVE))[-1]
    assert np.abs(last_error(found.motion)).max() < 0.1 * np.abs(last_error(steps[-1].camera)).max()
    true = 1.0 / CURVE[-1].inverse().apply(cloud.points)[:, 2]
    known = found.depths.inverse != 0.0
    assert np.mean(known) > 0.9
    np.testing.assert_allclose(found.depths.inverse[known], true[known], rtol=0.02)


def test_tracks_on_a_moving_object_do_not_change_the_motion():
    errors = []
    for share in (0.0, 0.2):
        squares = []
        for seed in range(10):
            cloud = Cloud(count=150, noise=0.4, seed=seed)
            steps, pixels = steps_along(CURVE, cloud.rng), images(cloud, CURVE)
            for k, image in enumerate(pixels):
                image[: int(share * 150)] += [6.0 * k, -3.0 * k]
            squares.append(last_error(refined(KeyframeWindow(), steps, pixels)[-1].motion)[3:] ** 2)
        errors.append(np.sqrt(np.mean(squares)))
    assert errors[1] < 1.5 * errors[0]


def test_known_depths_of_the_oldest_keyframe_correct_the_length():
    """The older keyframes are at one place, so that only the known depths tell the scale."""
    path = [pose(turn=(0.0, 0.01 * k, 0.0)) for k in range(4)] + [pose(0.15), pose(0.3)]
    errors: dict[float, list[float]] = {0.0: [], 1e6: []}
    for seed, information in itertools.product(range(6), errors):
        cloud, window = Cloud(count=150, noise=0.2, seed=seed), KeyframeWindow()
        pixels = images(cloud, path)
        steps = steps_along(path[:4]) + steps_along(path[3:], np.random.default_rng(seed))
        for k, step in enumerate(steps):
            after = tracks(k + 1, pixels[k + 1])
            inverse = 1.0 / path[k + 1].inverse().apply(cloud.points)[:, 2]
            known = InverseDepths.independent(after.ids, inverse, np.full(len(inverse), information))
            found = window.add(step, tracks(k, pixels[k]), after, known)
        errors[information].append(last_error(found.motion, path)[0])
    without, with_depths = (np.linalg.norm(values) for values in errors.values())
    assert with_depths < 0.75 * without


def test_a_turn_on_the_spot_leaves_the_translation_as_it_was():
    cloud = Cloud(count=150, noise=0.4)
    steps = steps_along(TURN)
    found = refined(KeyframeWindow(), steps, images(cloud, TURN))
    for step, refinement in zip(steps, found, strict=True):
        change = error_of(refinement.motion, step.camera.pose)
        assert np.abs(change[:3]).max() < 0.3 * SIGMA_T
        assert np.abs(change[3:]).max() < 0.3 * SIGMA_R


def test_too_few_tracks_or_keyframes_leave_the_step_as_it_was():
    rng = np.random.default_rng(0)
    steps, cloud = steps_along(CURVE, rng), Cloud(count=29, noise=0.4)
    found = refined(KeyframeWindow(), steps, images(cloud, CURVE))
    assert all(new.motion is step.camera for new, step in zip(found, steps, strict=True))
    cloud = Cloud(count=30, noise=0.4)
    found = refined(KeyframeWindow(), steps, images(cloud, CURVE))
    assert [new.motion is step.camera for new, step in zip(found, steps, strict=True)] == [True] + 3 * [False]


@pytest.mark.parametrize("restart", ["other keyframe", "cleared"])
def test_keyframes_before_a_loss_are_not_used(restart: str):
    rng, cloud = np.random.default_rng(0), Cloud(count=150, noise=0.4)
    steps, pixels, window = steps_along(CURVE, rng), images(cloud, CURVE), KeyframeWindow()
    refined(window, steps[:3], pixels[:4])
    if restart == "cleared":
        window.clear()
    first = 3 if restart == "cleared" else 7
    (found,) = refined(window, steps[3:], pixels[3:], first)
    assert found.motion is steps[3].camera


def test_a_motion_beyond_the_covariance_of_the_step_is_not_taken():
    cloud = Cloud(count=150, noise=0.4)
    steps, pixels = steps_along(CURVE), images(cloud, CURVE)
    camera = steps[-1].camera
    wrong = Pose(so3.exp(np.array([0.0, 8.0 * SIGMA_R, 0.0])) @ camera.pose.rotation, camera.pose.translation)
    steps[-1] = replace(steps[-1], camera=PoseWithCovariance(wrong, COVARIANCE))
    assert refined(KeyframeWindow(), steps, pixels)[-1].motion is steps[-1].camera


def test_every_change_is_within_the_covariance_of_the_step(runs: tuple[Array, Array]):
    measured, found = runs
    for change in found - measured:
        assert change @ np.linalg.solve(COVARIANCE, change) < 20.0


def test_a_change_of_the_unit_of_length_rescales_the_window():
    """The last step is measured in a unit of half the length: the refined one is the same, times two."""
    rng, cloud = np.random.default_rng(0), Cloud(count=150, noise=0.4)
    steps, pixels = steps_along(CURVE, rng), images(cloud, CURVE)
    same = refined(KeyframeWindow(), steps, pixels)[-1]
    camera, units = steps[-1].camera, np.diag(np.repeat([2.0, 1.0], 3))
    longer = Pose(camera.pose.rotation, 2.0 * camera.pose.translation)
    covariance = units @ camera.covariance @ units
    steps[-1] = replace(steps[-1], camera=PoseWithCovariance(longer, covariance), unit=2.0)
    found = refined(KeyframeWindow(), steps, pixels)[-1]
    expected = Pose(same.motion.pose.rotation, 2.0 * same.motion.pose.translation)
    assert nees(found.motion, expected) < 1e-6


def bundle(seed: int = 0) -> Bundle:
    """Five keyframes and 40 points, whose poses and points have errors."""
    cloud = Cloud(count=40, noise=0.4, seed=seed)
    rays = np.stack([INTRINSICS.rays(image)[:, :2] for image in images(cloud, CURVE)])
    poses = [CURVE[2].inverse() @ camera for camera in CURVE]
    steps = [step.camera for step in steps_along(CURVE, cloud.rng)[-FREE:]]
    known = InverseDepths.none().of(np.arange(40, dtype=np.int64))
    seen = np.ones((5, 40), dtype=np.bool_)
    seen[0, :10] = False
    return Bundle.start(poses, rays, seen, steps, known, 1e-4)


def test_derivatives_are_those_of_the_predicted_image_points():
    nominal, size = bundle(), 1e-6
    residual, by_pose, by_point, visible = nominal.linearised()
    for axis in range(6):
        error = np.zeros(6)
        error[axis] = size
        for free in range(FREE):
            poses, row = list(nominal.poses), 5 - FREE + free
            turned = so3.exp(error[3:]) @ poses[row].rotation
            poses[row] = Pose(turned, poses[row].translation + error[:3])
            change = residual - replace(nominal, poses=poses).linearised()[0]
            np.testing.assert_allclose(change[row] / size, by_pose[free, ..., axis], atol=1e-5)
            assert visible[row].all()
    for axis in range(3):
        points = nominal.points.copy()
        points[:, axis] += size
        change = residual - replace(nominal, points=points).linearised()[0]
        np.testing.assert_allclose(change[visible] / size, by_point[visible, :, axis], atol=1e-5)


def test_iterations_converge_fast():
    """With a wrong derivative, also of the steps or known depths, they would take far more iterations."""
    start = bundle()
    inverse, _ = replace(start, poses=[Pose.identity()] * 5).inverse_depths()
    known = InverseDepths.independent(np.arange(40, dtype=np.int64), 1.02 * inverse, np.full(40, 1e3))
    # With this noise the robust weights are constant.
    iterations = [replace(start, depths=known, noise=1e-1)]
    for _ in range(6):
        iterations.append(iterations[-1].improved())
    last = iterations[-1].points
    errors = [float(np.abs(found.points - last).max()) for found in iterations[:-1]]
    assert errors[0] > 1e-2
    assert errors[4] < 1e-9


def test_a_point_at_infinity_is_regular():
    far = bundle()
    far = replace(far, points=np.column_stack([far.points[:, :2], np.zeros(40)]))
    found = far.improved()
    assert np.isfinite(found.points).all()
    assert np.isfinite(found.poses[-1].matrix).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_points_without_a_finite_solution_leave_the_step_as_it_was():
    cloud = Cloud(count=150, noise=0.4)
    steps, pixels = steps_along(CURVE, cloud.rng), images(cloud, CURVE)
    pixels[2][:] = 1e200
    found = refined(KeyframeWindow(), steps, pixels)
    assert found[1].motion is steps[1].camera
    assert all(np.isfinite(refinement.motion.pose.matrix).all() for refinement in found)

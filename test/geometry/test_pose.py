"""Poses and their covariance, compared with matrices and with sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, angles_between, pose_error

SAMPLES = 20_000

numbers = st.floats(-3.0, 3.0, allow_subnormal=False)
poses = st.tuples(*[numbers] * 6).map(lambda v: Pose(so3.exp(np.array(v[:3])), np.array(v[3:])))


def random_pose(random: np.random.Generator) -> Pose:
    return Pose(so3.exp(random.normal(size=3)), random.normal(size=3))


def random_covariance(random: np.random.Generator, scale: float) -> np.ndarray:
    root = random.normal(size=(6, 6))
    return scale**2 * (root @ root.T / 6.0 + 0.1 * np.eye(6))


def sample(estimate: PoseWithCovariance, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw rotations (N, 3, 3) and translations (N, 3) from the distribution of the pose."""
    errors = random.multivariate_normal(np.zeros(6), estimate.covariance, size=SAMPLES)
    return so3.exp(errors[:, 3:]) @ estimate.pose.rotation, estimate.pose.translation + errors[:, :3]


def sampled_covariance(pose: Pose, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    errors = np.concatenate([translations - pose.translation, so3.log(rotations @ pose.rotation.T)], axis=1)
    return errors.T @ errors / len(errors)


def assert_covariance_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Assert that each element is within 5 % of the product of its sigmas: 5 sigma of the sampling error."""
    sigmas = np.sqrt(np.diag(expected))
    assert np.max(np.abs(actual - expected) / np.outer(sigmas, sigmas)) < 0.05


@given(poses, poses)
def test_composition_is_the_matrix_product(a, b):
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-9)


@given(poses)
def test_inverse_is_the_inverse_matrix(pose):
    np.testing.assert_allclose(pose.inverse().matrix, np.linalg.inv(pose.matrix), atol=1e-9)


@given(poses)
def test_quaternion_round_trips_and_agrees_with_scipy(pose):
    np.testing.assert_allclose(Rotation.from_quat(pose.quaternion).as_matrix(), pose.rotation, atol=1e-9)
    np.testing.assert_allclose(
        Pose.from_quaternion(pose.quaternion, pose.translation).matrix, pose.matrix, atol=1e-9
    )


@given(poses, st.tuples(numbers, numbers, numbers).map(np.array))
def test_applying_a_composition_applies_both_poses(pose, point):
    twice = (pose @ pose).apply(point)
    np.testing.assert_allclose(twice, pose.apply(pose.apply(point)), atol=1e-8)


def test_long_products_stay_rotations():
    pose = Pose(so3.exp(np.array([0.3, -0.2, 0.1])), np.zeros(3))
    total = Pose.identity()
    for _ in range(5000):
        total = total @ pose
    np.testing.assert_allclose(total.rotation.T @ total.rotation, np.eye(3), atol=1e-14)


def test_covariance_of_a_composition_matches_sampling():
    random = np.random.default_rng(2)
    first = PoseWithCovariance(random_pose(random), random_covariance(random, 0.02))
    second = PoseWithCovariance(random_pose(random), random_covariance(random, 0.02))
    rotations_1, translations_1 = sample(first, random)
    rotations_2, translations_2 = sample(second, random)
    rotations = rotations_1 @ rotations_2
    translations = (rotations_1 @ translations_2[..., None])[..., 0] + translations_1
    result = first @ second
    assert_covariance_close(sampled_covariance(result.pose, rotations, translations), result.covariance)


def test_covariance_of_an_inverse_matches_sampling():
    random = np.random.default_rng(3)
    estimate = PoseWithCovariance(random_pose(random), random_covariance(random, 0.02))
    rotations, translations = sample(estimate, random)
    inverse_rotations = np.swapaxes(rotations, 1, 2)
    inverse_translations = -(inverse_rotations @ translations[..., None])[..., 0]
    result = estimate.inverse()
    assert_covariance_close(
        sampled_covariance(result.pose, inverse_rotations, inverse_translations), result.covariance
    )


def test_change_of_frame_matches_sampling():
    random = np.random.default_rng(4)
    camera = PoseWithCovariance(random_pose(random), random_covariance(random, 0.02))
    extrinsics = random_pose(random)
    rotations, translations = sample(camera, random)
    base_rotations = extrinsics.rotation @ rotations @ extrinsics.rotation.T
    camera_in_base = translations @ extrinsics.rotation.T + extrinsics.translation
    base_translations = camera_in_base - base_rotations @ extrinsics.translation
    result = camera.change_of_frame(extrinsics)
    expected = extrinsics.matrix @ camera.pose.matrix @ np.linalg.inv(extrinsics.matrix)
    np.testing.assert_allclose(result.pose.matrix, expected, atol=1e-12)
    assert_covariance_close(
        sampled_covariance(result.pose, base_rotations, base_translations), result.covariance
    )


def test_change_of_frame_is_the_adjoint_for_a_small_motion():
    """For the identity, a change of frame of a covariance in the ROS convention is the adjoint action."""
    random = np.random.default_rng(5)
    extrinsics = random_pose(random)
    camera = PoseWithCovariance(Pose.identity(), random_covariance(random, 0.1))
    adjoint = np.kron(np.eye(2), extrinsics.rotation)
    adjoint[:3, 3:] = so3.hat(extrinsics.translation) @ extrinsics.rotation
    expected = adjoint @ camera.covariance @ adjoint.T
    np.testing.assert_allclose(camera.change_of_frame(extrinsics).covariance, expected, atol=1e-12)


def test_exact_poses_add_no_covariance():
    random = np.random.default_rng(6)
    estimate = PoseWithCovariance(random_pose(random), random_covariance(random, 0.1))
    unchanged = estimate @ PoseWithCovariance.exact(Pose.identity())
    np.testing.assert_allclose(unchanged.covariance, estimate.covariance, atol=1e-15)
    assert np.linalg.eigvalsh(estimate.inverse().covariance).min() > 0.0


def test_sampling_oracle_detects_a_missing_lever_arm():
    """The tolerance of the sampling tests is small enough to detect a missing lever arm."""
    random = np.random.default_rng(7)
    first = PoseWithCovariance(random_pose(random), random_covariance(random, 0.02))
    with pytest.raises(AssertionError):
        assert_covariance_close(first.inverse().covariance, first.covariance)


@given(poses, st.tuples(*[st.floats(-1.0, 1.0)] * 6).map(np.array))
def test_pose_error_is_what_the_covariance_describes(estimate: Pose, error: np.ndarray):
    true = Pose(so3.exp(error[3:]) @ estimate.rotation, estimate.translation + error[:3])
    np.testing.assert_allclose(pose_error(true, estimate), error, atol=1e-9)
    np.testing.assert_array_equal(estimate.corrected(error).matrix, true.matrix)


def test_angles_between_poses_are_those_of_rotation_and_direction():
    first = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    second = Pose(so3.exp(np.array([0.0, 0.2, 0.0])), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(angles_between(first, second), [0.2, np.pi / 2.0])
    np.testing.assert_allclose(angles_between(second, first), [0.2, np.pi / 2.0])

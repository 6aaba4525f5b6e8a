"""tf_transformations, the stand-in or the real package, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tf_transformations as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

components = st.floats(-1.0, 1.0)
quaternions = (
    st.tuples(components, components, components, components)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: np.array(q) / np.linalg.norm(q))
)
vectors = st.tuples(*[st.floats(-10.0, 10.0)] * 3).map(np.array)
angles = st.floats(-1.5, 1.5)  # the second angle stays away from the gimbal lock at +-pi/2
conventions = st.sampled_from([("sxyz", "xyz"), ("rzyx", "ZYX"), ("syzx", "yzx"), ("rxyz", "XYZ")])


def same_rotation(q, other):
    return abs(np.dot(q, other)) == pytest.approx(1.0, abs=1e-9)


@given(quaternions)
def test_quaternion_and_matrix_convert_both_ways(q):
    matrix = tf.quaternion_matrix(q)
    assert matrix.shape == (4, 4)
    np.testing.assert_allclose(matrix[:3, :3], Rotation.from_quat(q).as_matrix(), atol=1e-9)
    assert same_rotation(tf.quaternion_from_matrix(matrix), q)


@given(quaternions)
def test_a_quaternion_from_a_matrix_has_a_nonnegative_real_part(q):
    assert tf.quaternion_from_matrix(tf.quaternion_matrix(q))[3] >= -1e-9


def test_a_quaternion_need_not_be_of_unit_length_to_give_a_matrix():
    np.testing.assert_allclose(tf.quaternion_matrix([0, 0, 2, 2])[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@given(quaternions, quaternions)
def test_the_product_rotates_by_the_second_factor_first(q1, q0):
    expected = tf.quaternion_matrix(q1) @ tf.quaternion_matrix(q0)
    np.testing.assert_allclose(tf.quaternion_matrix(tf.quaternion_multiply(q1, q0)), expected, atol=1e-9)


@given(quaternions, st.floats(0.5, 2.0))
def test_quaternion_times_inverse_is_one(q, length):
    scaled = length * q
    product = tf.quaternion_multiply(scaled, tf.quaternion_inverse(scaled))
    np.testing.assert_allclose(product, [0, 0, 0, 1], atol=1e-9)


@given(quaternions)
def test_the_conjugate_of_a_unit_quaternion_is_its_inverse(q):
    np.testing.assert_allclose(tf.quaternion_conjugate(q), tf.quaternion_inverse(q), atol=1e-9)


@given(st.tuples(angles, angles, angles), conventions)
def test_euler_angles_follow_the_named_convention(euler, convention):
    axes, scipy_name = convention
    first, second, third = euler
    expected = Rotation.from_euler(scipy_name, euler)
    np.testing.assert_allclose(
        tf.euler_matrix(first, second, third, axes)[:3, :3], expected.as_matrix(), atol=1e-9
    )
    q = tf.quaternion_from_euler(first, second, third, axes)
    assert same_rotation(q, expected.as_quat())
    np.testing.assert_allclose(tf.euler_from_quaternion(q, axes=axes), euler, atol=1e-6)
    np.testing.assert_allclose(tf.euler_from_matrix(tf.quaternion_matrix(q), axes=axes), euler, atol=1e-6)


def test_the_default_convention_is_roll_pitch_yaw():
    np.testing.assert_allclose(
        tf.quaternion_from_euler(0, 0, math.pi / 2), [0, 0, math.sqrt(0.5), math.sqrt(0.5)], atol=1e-12
    )


@given(quaternions, vectors)
def test_translation_times_rotation_composes_a_pose(q, vector):
    pose = tf.concatenate_matrices(tf.translation_matrix(vector), tf.quaternion_matrix(q))
    np.testing.assert_allclose(tf.translation_from_matrix(pose), vector, atol=1e-9)
    np.testing.assert_allclose(pose[:3, :3], tf.quaternion_matrix(q)[:3, :3], atol=1e-12)
    np.testing.assert_allclose(
        tf.concatenate_matrices(pose, tf.inverse_matrix(pose)), tf.identity_matrix(), atol=1e-9
    )

"""SO(3), compared with scipy and with its definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from iup_pose_ros.geometry import so3

components = st.floats(-1.0, 1.0, allow_subnormal=False)
vectors = st.tuples(components, components, components).map(np.array)


@given(vectors, vectors)
def test_hat_is_the_cross_product(a, b):
    np.testing.assert_allclose(so3.hat(a) @ b, np.cross(a, b), atol=1e-12)


@given(vectors, st.sampled_from([1e-9, 1e-6, 9e-5, 1.1e-4, 1e-3, 1.0, 3.0]))
def test_exp_is_the_matrix_exponential(direction, size):
    vector = direction * size
    np.testing.assert_allclose(so3.exp(vector), expm(so3.hat(vector)), atol=1e-12)
    np.testing.assert_allclose(so3.exp(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)


@given(vectors, st.sampled_from([0.0, 1e-9, 1e-4, 0.1, 1.0, 1.8]))
def test_log_undoes_exp_below_pi(direction, size):
    vector = direction * size
    if np.linalg.norm(vector) < np.pi - 1e-3:
        np.testing.assert_allclose(so3.log(so3.exp(vector)), vector, atol=1e-9)


def test_functions_accept_leading_axes():
    vectors_3d = np.random.default_rng(0).normal(size=(4, 5, 3))
    rotations = so3.exp(vectors_3d)
    assert rotations.shape == (4, 5, 3, 3)
    assert so3.log(rotations).shape == (4, 5, 3)
    np.testing.assert_allclose(rotations[2, 3], so3.exp(vectors_3d[2, 3]))
    np.testing.assert_allclose(so3.angle(rotations)[1, 1], np.linalg.norm(so3.log(rotations[1, 1])))


@pytest.mark.parametrize("expected", [0.0, 1e-7, 1e-3, 1.0, np.pi - 1e-7, np.pi])
def test_angle_is_accurate_near_zero_and_pi(expected):
    rotation = Rotation.from_rotvec(expected * np.array([0.6, 0.0, 0.8])).as_matrix()
    assert so3.angle(rotation) == pytest.approx(expected, abs=1e-9)


@given(vectors, vectors)
def test_geodesic_angle_is_scipys_magnitude(a, b):
    expected = (Rotation.from_rotvec(a).inv() * Rotation.from_rotvec(b)).magnitude()
    assert so3.geodesic_angle(so3.exp(a), so3.exp(b)) == pytest.approx(expected, abs=1e-7)


def test_projection_returns_the_nearest_rotation():
    random = np.random.default_rng(1)
    rotation = so3.exp(random.normal(size=(10, 3)))
    noisy = rotation + 1e-3 * random.normal(size=rotation.shape)
    projected = so3.project_to_so3(noisy)
    np.testing.assert_allclose(
        np.swapaxes(projected, -1, -2) @ projected, np.broadcast_to(np.eye(3), (10, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(projected), 1.0)
    assert np.all(
        np.linalg.norm(projected - noisy, axis=(-2, -1)) <= np.linalg.norm(rotation - noisy, axis=(-2, -1))
    )
    np.testing.assert_allclose(np.linalg.det(so3.project_to_so3(-rotation)), 1.0)

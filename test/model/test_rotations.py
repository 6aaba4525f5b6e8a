from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from iup_pose_ros.model.rotations import angle_between, exponential, length, logarithm, rotation_error


def test_exponential_and_logarithm_agree_with_scipy() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    matrices = Rotation.from_rotvec(vectors).as_matrix()
    assert np.allclose(exponential(torch.from_numpy(vectors)).numpy(), matrices, atol=1e-12)
    expected = Rotation.from_matrix(matrices).as_rotvec()
    assert np.allclose(logarithm(torch.from_numpy(matrices)).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-3])
def test_gradients_are_finite_at_every_angle(angle: float) -> None:
    vector = torch.tensor([angle, 0.0, 0.0], requires_grad=True)
    error = rotation_error(torch.eye(3), exponential(vector))
    (length(error) + error.sum()).backward()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()


def test_rotation_error_at_identity_has_unit_jacobian() -> None:
    jacobian = torch.autograd.functional.jacobian(
        lambda vector: rotation_error(torch.eye(3), exponential(vector)), torch.zeros(3)
    )
    assert torch.allclose(jacobian, torch.eye(3), atol=1e-6)


def test_rotation_error_is_the_right_perturbation() -> None:
    delta = torch.tensor([0.1, -0.2, 0.05])
    R = exponential(torch.tensor([0.5, 1.0, -0.3]))
    assert torch.allclose(rotation_error(R, R @ exponential(delta)), delta, atol=1e-6)


@pytest.mark.parametrize(("degrees"), [0.0, 1.0, 90.0, 179.0, 180.0])
def test_angle_between_vectors_of_any_length_is_exact_with_finite_gradients(degrees: float) -> None:
    turned = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0.0])
    first = torch.tensor([3.0, 0.0, 0.0], requires_grad=True)
    angle = angle_between(first, turned)
    angle.backward()
    assert math.degrees(angle.item()) == pytest.approx(degrees, abs=1e-3)
    assert first.grad is not None
    assert first.grad.isfinite().all()

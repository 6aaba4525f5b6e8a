"""Rotations and unit vectors in torch, batched, with finite gradients everywhere, identity included."""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from iup_pose_ros.model.precision import full_precision

EPSILON = 1e-12


def exponential(rotation_vector: Tensor) -> Tensor:
    """Exp: rotation vectors (..., 3), radians -> rotation matrices (..., 3, 3)."""
    with full_precision(rotation_vector):
        return roma.rotvec_to_rotmat(rotation_vector)


def logarithm(rotation: Tensor) -> Tensor:
    """Log: rotation matrices (..., 3, 3) -> rotation vectors (..., 3), radians, length at most pi."""
    with full_precision(rotation):
        return roma.rotmat_to_rotvec(rotation)


def perturbed(rotation: Tensor, delta: Tensor) -> Tensor:
    """rotation Exp(delta): (..., 3, 3) and (..., 3) -> (..., 3, 3)."""
    with full_precision(rotation):
        return rotation @ exponential(delta)


def turned(rotation: Tensor, vector: Tensor) -> Tensor:
    """Vectors (..., 3) turned by rotations (..., 3, 3)."""
    with full_precision(rotation):
        return (rotation @ vector[..., None])[..., 0]


def rotation_error(R_estimate: Tensor, R_true: Tensor) -> Tensor:
    """delta (..., 3) with R_true = R_estimate Exp(delta), radians."""
    with full_precision(R_estimate):
        return logarithm(R_estimate.transpose(-1, -2) @ R_true)


def length(vector: Tensor) -> Tensor:
    """Euclidean length of (..., n) -> (...), differentiable at zero."""
    return (vector.square().sum(dim=-1) + EPSILON).sqrt()


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Angle (...) in [0, pi] between vectors (..., 3), radians."""
    return torch.atan2(length(torch.linalg.cross(first, second)), (first * second).sum(dim=-1))

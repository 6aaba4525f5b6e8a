"""Batched rotations and unit vectors in torch, with finite gradients also at identity and zero.

roma is imported where it is used: it loads torch._dynamo, which takes a second that a node does not need.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iup_pose_ros.model.precision import full_precision

EPSILON = 1e-12


def exponential(rotation_vector: Tensor) -> Tensor:
    """Return Exp: rotation vectors (..., 3), radians, to rotation matrices (..., 3, 3)."""
    import roma

    with full_precision(rotation_vector):
        return roma.rotvec_to_rotmat(rotation_vector)


def logarithm(rotation: Tensor) -> Tensor:
    """Return Log: rotation matrices (..., 3, 3) to rotation vectors (..., 3), radians, length at most pi."""
    import roma

    with full_precision(rotation):
        return roma.rotmat_to_rotvec(rotation)


def perturb(rotation: Tensor, delta: Tensor) -> Tensor:
    """Return rotation Exp(delta): (..., 3, 3) and (..., 3) to (..., 3, 3)."""
    with full_precision(rotation):
        return rotation @ exponential(delta)


def rotate_vectors(rotation: Tensor, vector: Tensor) -> Tensor:
    """Rotate vectors (..., 3) by rotations (..., 3, 3)."""
    with full_precision(rotation):
        return (rotation @ vector[..., None])[..., 0]


def rotation_error(R_estimate: Tensor, R_true: Tensor) -> Tensor:
    """Return delta (..., 3) of R_true = R_estimate Exp(delta), radians."""
    with full_precision(R_estimate):
        return logarithm(R_estimate.transpose(-1, -2) @ R_true)


def length(vector: Tensor) -> Tensor:
    """Return the Euclidean length (...) of vectors (..., n), differentiable at zero."""
    return (vector.square().sum(dim=-1) + EPSILON).sqrt()


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Return the angle (...) in [0, pi] between vectors (..., 3), radians."""
    return torch.atan2(length(torch.linalg.cross(first, second)), (first * second).sum(dim=-1))

"""Stand-in for ROS 2's tf_transformations: quaternions (x, y, z, w), Euler angles and 4x4 matrices.

Holds the part of the package that a node commonly uses, with the same signatures and results, for
environments without a ROS distribution. `axes` names Euler conventions: "s" (fixed axes) or "r" (rotating
axes), then the axes in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Matrix = NDArray[np.float64]
Quaternion = tuple[float, float, float, float]

__all__ = [
    "concatenate_matrices",
    "euler_from_matrix",
    "euler_from_quaternion",
    "euler_matrix",
    "identity_matrix",
    "inverse_matrix",
    "quaternion_conjugate",
    "quaternion_from_euler",
    "quaternion_from_matrix",
    "quaternion_inverse",
    "quaternion_matrix",
    "quaternion_multiply",
    "translation_from_matrix",
    "translation_matrix",
]


def identity_matrix() -> Matrix:
    return np.eye(4)


def translation_matrix(direction: ArrayLike) -> Matrix:
    """4x4 matrix that moves by a vector (3,)."""
    matrix = np.eye(4)
    matrix[:3, 3] = np.asarray(direction)[:3]
    return matrix


def translation_from_matrix(matrix: ArrayLike) -> Matrix:
    """The vector (3,) by which a 4x4 matrix moves the origin."""
    return np.array(matrix, dtype=float)[:3, 3]


def concatenate_matrices(*matrices: ArrayLike) -> Matrix:
    """Product of 4x4 matrices, left to right."""
    product = np.eye(4)
    for matrix in matrices:
        product = product @ np.asarray(matrix)
    return product


def inverse_matrix(matrix: ArrayLike) -> Matrix:
    return np.linalg.inv(np.asarray(matrix, dtype=float))


def _matrix_of(rotation: Rotation) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix()
    return matrix


def _convention(axes: str) -> str:
    """scipy's name of an Euler convention: lower case for fixed axes, upper case for rotating ones."""
    frame, order = axes[0], axes[1:]
    if frame not in "sr":
        raise ValueError(f'axes "{axes}" must begin with "s" (fixed axes) or "r" (rotating axes)')
    return order.lower() if frame == "s" else order.upper()


def euler_matrix(ai: float, aj: float, ak: float, axes: str = "sxyz") -> Matrix:
    """4x4 rotation matrix of three angles [rad]."""
    return _matrix_of(Rotation.from_euler(_convention(axes), [ai, aj, ak]))


def euler_from_matrix(matrix: ArrayLike, axes: str = "sxyz") -> tuple[float, float, float]:
    """Three angles [rad] of the rotation of a 3x3 or 4x4 matrix."""
    rotation = Rotation.from_matrix(np.asarray(matrix, dtype=float)[:3, :3])
    first, second, third = rotation.as_euler(_convention(axes)).tolist()
    return first, second, third


def euler_from_quaternion(quaternion: ArrayLike, axes: str = "sxyz") -> tuple[float, float, float]:
    """Three angles [rad] of a quaternion."""
    return euler_from_matrix(quaternion_matrix(quaternion), axes)


def quaternion_from_euler(ai: float, aj: float, ak: float, axes: str = "sxyz") -> Quaternion:
    """Unit quaternion of three angles [rad]."""
    return quaternion_from_matrix(euler_matrix(ai, aj, ak, axes))


def quaternion_matrix(quaternion: ArrayLike) -> Matrix:
    """4x4 rotation matrix of a quaternion, which need not be of unit length."""
    return _matrix_of(Rotation.from_quat(np.asarray(quaternion, dtype=float)))


def quaternion_from_matrix(matrix: ArrayLike) -> Quaternion:
    """Unit quaternion with w >= 0 of the rotation of a 3x3 or 4x4 matrix."""
    rotation = Rotation.from_matrix(np.asarray(matrix, dtype=float)[:3, :3])
    x, y, z, w = rotation.as_quat(canonical=True).tolist()
    return x, y, z, w


def quaternion_multiply(quaternion1: ArrayLike, quaternion0: ArrayLike) -> Quaternion:
    """Hamilton product: rotate by quaternion0, then by quaternion1. Lengths multiply."""
    x1, y1, z1, w1 = np.asarray(quaternion1, dtype=float).tolist()
    x0, y0, z0, w0 = np.asarray(quaternion0, dtype=float).tolist()
    return (
        w1 * x0 + x1 * w0 + y1 * z0 - z1 * y0,
        w1 * y0 - x1 * z0 + y1 * w0 + z1 * x0,
        w1 * z0 + x1 * y0 - y1 * x0 + z1 * w0,
        w1 * w0 - x1 * x0 - y1 * y0 - z1 * z0,
    )


def quaternion_conjugate(quaternion: ArrayLike) -> Matrix:
    return np.asarray(quaternion, dtype=float) * [-1.0, -1.0, -1.0, 1.0]


def quaternion_inverse(quaternion: ArrayLike) -> Matrix:
    """The quaternion whose product with the given one is (0, 0, 0, 1)."""
    quaternion = np.asarray(quaternion, dtype=float)
    return quaternion_conjugate(quaternion) / np.dot(quaternion, quaternion)

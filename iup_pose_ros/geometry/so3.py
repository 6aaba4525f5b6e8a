"""Rotation group SO(3): exponential, logarithm and angles, in radians, batched over leading axes.

Source: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics", 2018, appendix B.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

_SMALL_ANGLE = 1e-4


def hat(vector: Array) -> Array:
    """Return the skew-symmetric matrix (..., 3, 3) of a vector (..., 3): ``hat(a) @ b`` is a x b."""
    vector = np.asarray(vector, dtype=np.float64)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def exp(rotation_vector: Array) -> Array:
    """Compute the rotation matrix (..., 3, 3) of a rotation vector (..., 3) by Rodrigues' formula."""
    rotation_vector = np.asarray(rotation_vector, dtype=np.float64)
    theta = np.linalg.norm(rotation_vector, axis=-1)[..., None, None]
    square = theta**2
    small = theta < _SMALL_ANGLE
    safe = np.where(small, 1.0, theta)
    # Taylor series where sin(x)/x and (1 - cos x)/x^2 are numerically inaccurate.
    sine = np.where(small, 1.0 - square / 6.0, np.sin(safe) / safe)
    cosine = np.where(small, 0.5 - square / 24.0, 2.0 * (np.sin(0.5 * safe) / safe) ** 2)
    generator = hat(rotation_vector)
    return np.eye(3) + sine * generator + cosine * (generator @ generator)


def log(rotation: Array) -> Array:
    """Compute the rotation vector (..., 3), of norm at most pi, of a rotation matrix (..., 3, 3)."""
    rotation = np.asarray(rotation, dtype=np.float64)
    flat = rotation.reshape(-1, 3, 3)
    return Rotation.from_matrix(flat).as_rotvec().reshape(*rotation.shape[:-2], 3)


def angle(rotation: Array) -> Array:
    """Compute the rotation angle (...), 0 to pi, of a rotation matrix (..., 3, 3), exact near 0 and pi."""
    rotation = np.asarray(rotation, dtype=np.float64)
    sine_axis = np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        axis=-1,
    )
    trace = np.trace(rotation, axis1=-2, axis2=-1)
    return np.arctan2(np.linalg.norm(sine_axis, axis=-1), trace - 1.0)


def geodesic_angle(first: Array, second: Array) -> Array:
    """Compute the rotation angle (...) between two rotation matrices (..., 3, 3)."""
    return angle(np.swapaxes(first, -1, -2) @ np.asarray(second, dtype=np.float64))


def project_to_so3(matrix: Array) -> Array:
    """Return the nearest rotation matrix (..., 3, 3) in the Frobenius norm, removing numerical drift."""
    left, _, right = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
    signs = np.ones(left.shape[:-1])
    signs[..., 2] = np.sign(np.linalg.det(left @ right))
    return (left * signs[..., None, :]) @ right

"""Covariance of a relative pose from the epipolar errors of its inlier matches.

With T_prev_curr = (R, d), |d| = 1, and rays x, x' of a match, the epipolar error is e = x . (d x R x').
The Sampson error e / |de/dpixels| has, for small noise, the standard deviation of one pixel coordinate
(Hartley and Zisserman, "Multiple View Geometry", 2nd edition, section 11.4.3).
The errors of the pose are the brief 5 parameters: rotation about the previous camera's axes, and two tangent
directions of d.
"""

from __future__ import annotations

import numpy as np

from iup_pose_ros.estimators.base import Matches
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, symmetrised
from iup_pose_ros.geometry.so3 import Array

# Per-axis standard deviation, in the tangent plane, of a direction of which nothing is known: the angle to a
# uniformly distributed one has the mean square (pi^2 - 4) / 2.
UNKNOWN_DIRECTION_SIGMA = float(np.sqrt((np.pi**2 - 4.0) / 4.0))


def epipolar_covariance(
    T_prev_curr: Pose,
    inliers: Matches,
    intrinsics_prev: Intrinsics,
    intrinsics_curr: Intrinsics,
    threshold: float,
) -> tuple[Array, float]:
    """Covariance (6, 6) and direction sigma."""
    x = intrinsics_prev.rays(inliers.points_prev)
    y = intrinsics_curr.rays(inliers.points_curr) @ T_prev_curr.rotation.T
    d = T_prev_curr.translation
    basis = tangent_basis(d)
    normal = np.cross(y, x)  # e = d . (y x x)
    grad_prev = np.cross(d, y)[:, :2] / [intrinsics_prev.fx, intrinsics_prev.fy]
    grad_curr = (np.cross(x, d) @ T_prev_curr.rotation)[:, :2] / [intrinsics_curr.fx, intrinsics_curr.fy]
    norm = np.sqrt((grad_prev**2).sum(1) + (grad_curr**2).sum(1)) + 1e-12
    residual = normal @ d / norm
    J = np.hstack([np.cross(y, np.cross(x, d)), normal @ basis]) / norm[:, None]
    sigma2 = max(np.sum(residual**2) / max(len(J) - 5, 1), 0.1**2)
    information = J.T @ J / sigma2
    information[3:, 3:] += np.eye(2) / UNKNOWN_DIRECTION_SIGMA**2
    information[:3, :3] += np.eye(3) / np.pi**2
    small = np.linalg.inv(information)
    expand = np.zeros((6, 5))
    expand[:3, 3:] = basis
    expand[3:, :3] = np.eye(3)
    covariance = expand @ small @ expand.T
    covariance[:3, :3] += 1e-6 * np.outer(d, d)
    return symmetrised(covariance), float(np.sqrt(np.trace(small[3:, 3:]) / 2))


def tangent_basis(direction: Array) -> Array:
    """Two orthonormal columns (3, 2) perpendicular to a unit vector (3,)."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)], axis=1)

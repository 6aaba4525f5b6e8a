"""The second solution of a nearly planar scene, and its probability.

A homography has two decompositions with all points in front of both cameras, in which the translation
direction and the plane normal are exchanged. In nearly planar scenes, the second pose is still a local
minimum of the epipolar error, and noise determines which minimum is deeper.
Source: Faugeras and Lustman, "Motion and structure from motion in a piecewise planar environment", 1988.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import ndtr

from iup_pose_ros.estimators.epipolar.residuals import EpipolarErrors
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array

_SAME_DIRECTION = np.cos(np.radians(1.0))
_INLIER_BAND = 3.0


def second_pose(errors: EpipolarErrors) -> Pose | None:
    """Return the second pose ``T_prev_curr`` of the plane that best fits the matches; None if there is none.

    Args:
        errors: errors of the inliers under the first pose.
    """
    T_prev_curr = errors.T_prev_curr
    direction = T_prev_curr.translation
    # Least-squares plane: its normal satisfies 1 / z = normal . ray in the previous camera frame.
    across = np.cross(errors.rays_current, direction)
    length = np.linalg.norm(across, axis=1) + 1e-12
    observed = np.sum(errors.normals * across, axis=1) / length
    plane = np.linalg.lstsq(errors.rays_previous * length[:, None], observed, rcond=None)[0]
    homography = T_prev_curr.rotation.T @ (np.eye(3) - np.outer(direction, plane))
    _, rotations, translations, normals = cv2.decomposeHomographyMat(homography, np.eye(3))
    others = []
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        length = np.linalg.norm(translation)
        if not np.isfinite(length) or length < 1e-9:
            continue
        in_front = np.mean(errors.rays_previous @ normal.ravel() > 0.0) > 0.5
        other = Pose(np.asarray(rotation), np.ravel(translation) / length).inverse()
        if in_front and other.translation @ direction < _SAME_DIRECTION:
            others.append(other)
    return min(others, key=lambda other: float(other.translation @ direction), default=None)


def second_pose_probability(first: EpipolarErrors, second: EpipolarErrors, noise: float) -> float:
    """Return the probability that the second pose is the true one instead of the first.

    The poses are non-nested models, and in a planar scene the difference of their costs is noise. It is
    therefore normalised by its own standard deviation (Vuong, "Likelihood ratio tests for model selection and
    non-nested hypotheses", 1989).

    Args:
        first, second: errors of the same matches under both poses.
        noise: standard deviation of the residuals, pixels.
    """
    difference = _costs(first, noise) - _costs(second, noise)
    scatter = float(np.sqrt(np.sum((difference - difference.mean()) ** 2)))
    return float(ndtr(difference.sum() / (scatter + 1e-9)))


def ambiguity_covariance(first: EpipolarErrors, second: Pose, probability: float) -> Array:
    """Return the covariance (5, 5), radians^2, that the second hypothesis adds to that of the first pose.

    Args:
        first: errors under the first pose, which is reported.
        second: second pose.
        probability: probability of the second pose.
    """
    T_prev_curr = first.T_prev_curr
    across = first.basis.T @ second.translation
    angle = np.arctan2(np.linalg.norm(across), second.translation @ T_prev_curr.translation)
    step = np.concatenate(
        [
            so3.log(second.rotation @ T_prev_curr.rotation.T),
            across / max(float(np.linalg.norm(across)), 1e-12) * angle,
        ]
    )
    return probability * np.outer(step, step)


def _costs(errors: EpipolarErrors, noise: float) -> Array:
    """Return the truncated squared residuals (N,) in units of the noise; maximum if rays do not intersect."""
    squares = np.minimum((errors.residuals / noise) ** 2, _INLIER_BAND**2)
    return np.where(errors.in_front(noise), squares, _INLIER_BAND**2)

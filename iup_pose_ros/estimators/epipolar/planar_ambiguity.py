"""The second pose that explains a nearly planar scene, and how probable it is.

Points of a plane move by a homography, and a homography comes from two poses in which every point lies in
front of both cameras: the direction of translation and the plane's normal change places. In scenes that are
nearly planar the second pose still is a minimum of the epipolar error, and noise decides which is deeper.
Source: Faugeras and Lustman, "Motion and structure from motion in a piecewise planar environment", 1988.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import norm

from iup_pose_ros.estimators.epipolar.residuals import EpipolarErrors
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array

_SAME_DIRECTION = np.cos(np.radians(1.0))
_INLIER_BAND = 3.0


def second_pose(errors: EpipolarErrors) -> Pose | None:
    """The other pose ``T_prev_curr`` of the plane that fits the matches best; None where there is none.

    Args:
        errors: of the inliers under the first pose.
    """
    T_prev_curr = errors.T_prev_curr
    direction = T_prev_curr.translation
    homography = T_prev_curr.rotation.T @ (np.eye(3) - np.outer(direction, _inverse_depth_plane(errors)))
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


def _inverse_depth_plane(errors: EpipolarErrors) -> Array:
    """Normal (3,) with step / z = normal . ray for the previous camera: least squares in the image."""
    across = np.cross(errors.rays_current, errors.T_prev_curr.translation)
    length = np.linalg.norm(across, axis=1) + 1e-12
    observed = np.sum(errors.normals * across, axis=1) / length
    return np.linalg.lstsq(errors.rays_previous * length[:, None], observed, rcond=None)[0]


def second_pose_probability(first: EpipolarErrors, second: EpipolarErrors, noise: float) -> float:
    """Return the probability that the second pose, and not the first, is the true one.

    Neither pose is a special case of the other, and in a planar scene the difference of their costs is noise
    alone: its own scatter is the measure (Vuong, "Likelihood ratio tests for model selection and non-nested
    hypotheses", 1989).
    """
    difference = _costs(first, noise) - _costs(second, noise)
    scatter = float(np.sqrt(np.sum((difference - difference.mean()) ** 2)))
    return float(norm.cdf(difference.sum() / (scatter + 1e-9)))


def ambiguity_covariance(first: EpipolarErrors, second: Pose, probability: float) -> Array:
    """Return the covariance (5, 5) that the possibility of the second pose adds to the first's.

    Args:
        first: errors under the pose that is reported.
        second: the other pose.
        probability: of the second pose.
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
    """(N,) squared residuals in units of the noise, those of outliers where the rays do not meet."""
    squares = np.minimum((errors.residuals / noise) ** 2, _INLIER_BAND**2)
    return np.where(errors.in_front(noise), squares, _INLIER_BAND**2)

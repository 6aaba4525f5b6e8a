"""Relative pose errors of image pairs and their AUC (area under the recall curve). No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iup_pose_ros.geometry.pose import NO_MOTION, Pose
from iup_pose_ros.geometry.so3 import Array, geodesic_angle

AUC_THRESHOLDS = (5, 10, 20)


def rotation_error_deg(estimate: Pose, reference: Pose) -> float:
    """Return the rotation angle between two poses, 0 to 180 degrees."""
    return float(np.degrees(geodesic_angle(estimate.rotation, reference.rotation)))


def direction_error_deg(estimate: Pose, reference: Pose) -> float:
    """Return the angle between two translations, 0 to 180 degrees: the sign counts ("unfolded").

    NaN if one of the translations is zero, because it has no direction.
    """
    first, second = estimate.translation, reference.translation
    if min(np.linalg.norm(first), np.linalg.norm(second)) < NO_MOTION:
        return float("nan")
    across = float(np.linalg.norm(np.cross(first, second)))
    return float(np.degrees(np.arctan2(across, first @ second)))


def folded_deg(direction_errors: Array) -> Array:
    """Fold direction errors (N,), degrees, to 0 to 90: ignore the sign. Infinite errors stay infinite."""
    errors = np.asarray(direction_errors, dtype=np.float64)
    return np.where(np.isfinite(errors), np.minimum(errors, 180.0 - errors), errors)


def pose_errors_deg(rotation_errors: Array, direction_errors: Array) -> Array:
    """Return the pose errors (N,): maximum of rotation and direction error, ignoring NaN directions."""
    return np.fmax(rotation_errors, direction_errors)


def area_under_recall(errors: Array, thresholds: Sequence[float] = AUC_THRESHOLDS) -> list[float]:
    """Compute the AUC in percent for each threshold: area under the recall curve, divided by the threshold.

    The recall curve connects the points (error, fraction of errors up to it), starting at the origin, and is
    integrated by the trapezoidal rule (Sarlin et al., "SuperGlue", CVPR 2020). NaN without errors.

    Args:
        errors: (N,) pose errors in degrees; infinite for a failed pair, which lowers the recall.
        thresholds: degrees.
    """
    ordered = np.sort(np.asarray(errors, dtype=np.float64))
    if len(ordered) == 0:
        return [float("nan")] * len(thresholds)
    x = np.concatenate([[0.0], ordered])
    recall = np.arange(len(x)) / len(ordered)
    areas = []
    for threshold in thresholds:
        inside = int(np.searchsorted(x, threshold))
        edge = np.append(x[:inside], threshold)
        heights = np.append(recall[:inside], recall[inside - 1])
        areas.append(100.0 * float(np.sum(np.diff(edge) * 0.5 * (heights[1:] + heights[:-1]))) / threshold)
    return areas

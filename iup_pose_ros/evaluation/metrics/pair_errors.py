"""Errors of relative poses of image pairs, and the area under their recall curve. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iup_pose_ros.geometry.directions import NO_MOTION
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array, geodesic_angle

AUC_THRESHOLDS = (5, 10, 20)


def rotation_error_deg(estimate: Pose, reference: Pose) -> float:
    """Angle in degrees, 0 to 180, of the rotation between two poses."""
    return float(np.degrees(geodesic_angle(estimate.rotation, reference.rotation)))


def direction_error_deg(estimate: Pose, reference: Pose) -> float:
    """Angle in degrees, 0 to 180, between two translations: a backwards one is wrong ("unfolded").

    NaN where one of them does not move: then there is no direction to compare.
    """
    first, second = estimate.translation, reference.translation
    if min(np.linalg.norm(first), np.linalg.norm(second)) < NO_MOTION:
        return float("nan")
    across = float(np.linalg.norm(np.cross(first, second)))
    return float(np.degrees(np.arctan2(across, first @ second)))


def folded_deg(direction_errors: Array) -> Array:
    """Direction errors (N,) in degrees without regard to the sign of translation; infinite ones stay so."""
    errors = np.asarray(direction_errors, dtype=np.float64)
    return np.where(np.isfinite(errors), np.minimum(errors, 180.0 - errors), errors)


def pose_errors_deg(rotation_errors: Array, direction_errors: Array) -> Array:
    """Pose errors (N,): the greater of rotation and direction error; the rotation's where that is NaN."""
    return np.fmax(rotation_errors, direction_errors)


def area_under_recall(errors: Array, thresholds: Sequence[float] = AUC_THRESHOLDS) -> list[float]:
    """AUC in percent for every threshold: the area under the recall curve up to it, divided by it.

    The curve joins the points (error, share of errors up to it) and begins in the origin; the area is taken
    by the trapezoid rule (Sarlin et al., "SuperGlue", CVPR 2020). NaN without errors.

    Args:
        errors: (N,) pose errors in degrees; infinite for a failure, which is counted and never recalled.
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

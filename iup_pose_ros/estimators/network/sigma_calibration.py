"""Application of the sigma calibration to relative poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import RelativePose


def apply_sigma_calibration(pose: RelativePose, calibration: SigmaCalibration) -> RelativePose:
    """Return the pose, of unit translation, with calibrated standard deviations."""
    factors = np.repeat([calibration.direction, calibration.rotation], 3)
    covariance = pose.covariance * np.outer(factors, factors)
    t = pose.T_prev_curr.translation
    covariance[:3, :3] += calibration.direction_floor**2 * (np.eye(3) - np.outer(t, t))
    covariance[3:, 3:] += calibration.rotation_floor**2 * np.eye(3)
    return replace(
        pose,
        covariance=covariance,
        sigma_R=calibration.corrected_rotation(pose.sigma_R),
        sigma_t=calibration.corrected_direction(pose.sigma_t),
        hypotheses=tuple(apply_sigma_calibration(hypothesis, calibration) for hypothesis in pose.hypotheses),
    )

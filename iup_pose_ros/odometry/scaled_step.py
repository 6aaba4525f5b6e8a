"""Steps of the camera with the joint covariance of length, direction and rotation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import RelativePose

Mask = NDArray[np.bool_]

UNKNOWN_DIRECTION = np.pi / 2.0
# End of the source of a length that is not measured: the scene's median depth or the last speed is assumed.
HELD_LENGTH = "(held)"
# End of the source of a length by shared tracks if one in metres was measured before, but not for this step.
CARRIED_LENGTH = "(carried on)"


class Interval(NamedTuple):
    """Start and end of a step, seconds."""

    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Length:
    """Length of a step.

    Attributes:
        value: metres or units of the trajectory.
        sigma: its standard deviation for an exact pose.
        source: name of its source.
        metric: whether it is in metres.
        jacobian: (6,) derivative by the pose's error, in the order and frame of the pose's covariance.
    """

    value: float
    sigma: float
    source: str
    metric: bool = False
    jacobian: Array = field(default_factory=lambda: np.zeros(6))


@dataclass(frozen=True, eq=False)
class ScaledStep:
    """A scaled step.

    Attributes:
        camera: T_prev_curr of the camera, covariance in the previous camera frame.
        sigma_t: standard deviation of the direction per axis, radians; pi/2 if it is unknown.
        metric: whether the length is in metres.
        source: source of the length.
        inliers: (N,) tracks that agree with the pose.
        unit: length of the step relative to the one that the depths known before it imply.
    """

    camera: PoseWithCovariance
    sigma_t: float
    metric: bool
    source: str
    inliers: Mask
    unit: float = 1.0


def step_along(relative: RelativePose, length: Length, inliers: Mask) -> ScaledStep:
    """Return the step along the estimated direction; its nominal variance along itself is replaced."""
    pose = relative.T_prev_curr
    direction = pose.translation / np.linalg.norm(pose.translation)
    along = np.outer(direction, direction)
    tangential = np.eye(6)
    tangential[:3, :3] -= along
    scaling = np.diag(np.repeat([length.value, 1.0], 3))
    scaling[:3] += np.outer(direction, length.jacobian)
    mapping = scaling @ tangential
    covariance = mapping @ relative.covariance @ mapping.T
    covariance[:3, :3] += length.sigma**2 * along
    camera = PoseWithCovariance(Pose(pose.rotation, length.value * direction), symmetrised(covariance))
    return ScaledStep(camera, relative.sigma_t, length.metric, length.source, inliers)


def rotation_only_step(relative: RelativePose, length: Length, inliers: Mask) -> ScaledStep:
    """Return the estimated rotation with zero translation of standard deviation ``length.sigma``."""
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = length.sigma**2 * np.eye(3)
    covariance[3:, 3:] = relative.covariance[3:, 3:]
    camera = PoseWithCovariance(Pose(relative.T_prev_curr.rotation, np.zeros(3)), covariance)
    return ScaledStep(camera, UNKNOWN_DIRECTION, length.metric, length.source, inliers)


def step_from_translation(
    relative: RelativePose,
    translation: Array,
    covariance: Array,
    source: str,
    inliers: Mask,
    metric: bool = False,
) -> ScaledStep:
    """Return the estimated rotation with a given translation (3,) and their joint covariance (6, 6)."""
    pose = Pose(relative.T_prev_curr.rotation, translation)
    length = float(np.linalg.norm(translation))
    sigma = float(np.sqrt(np.trace(covariance[:3, :3]) / 3.0))
    sigma_t = float(np.arctan2(sigma, length)) if length > sigma else UNKNOWN_DIRECTION
    return ScaledStep(PoseWithCovariance(pose, symmetrised(covariance)), sigma_t, metric, source, inliers)


def metric_step(relative: RelativePose, inliers: Mask) -> ScaledStep:
    """Return the step of an estimator with metric translation."""
    camera = PoseWithCovariance(relative.T_prev_curr, relative.covariance)
    return ScaledStep(camera, relative.sigma_t, True, "estimator", inliers)

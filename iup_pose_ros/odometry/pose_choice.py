"""Choice of the pose of a step by the depths known from earlier steps.

``resolve_ambiguity`` chooses between the two poses that a nearly planar scene allows: both explain all tracks
between two images of a plane, but they imply planes of different orientation and therefore different depths.
``resolve_contradiction`` replaces an estimator's pose that the tracks of known depth contradict.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logit

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import InverseDepths, step_length
from iup_pose_ros.odometry.image_pose import ImagePose
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS, TrackedRays, observe
from iup_pose_ros.types import RelativePose

_MAXIMUM_COST = 9.0  # of one track: squared error in standard deviations
# Limits the over-confidence of two images, whose tracking errors vary smoothly and are not independent.
_MIN_PROBABILITY = 1e-4
_TRACKS_PER_OBSERVATION = 16.0  # errors of neighbouring tracks correlate: this many count as one
# Minimum number of tracks of known depth for a resection to contradict the estimator's pose.
_MIN_KNOWN = 30
# Factor of the resection's covariance, which lacks the errors of the camera model and of wrong depths.
_UNMODELLED = 3.0
# The poses contradict each other if they differ by more than these angles (radians) and standard deviations.
_MAX_TURN = math.radians(5.0)
_MAX_ANGLE = math.radians(10.0)
_DEVIATIONS = 3.0


def resolve_ambiguity(relative: RelativePose, rays: TrackedRays, known: InverseDepths) -> RelativePose:
    """Return the more probable of two hypotheses, given the images and the known depths.

    Its covariance is that of the mixture of both. The pose is returned unchanged if it has no hypotheses or
    if fewer than ``MIN_TRACKS`` tracks have known depths.

    Args:
        relative: an estimator's pose.
        rays: N tracks between the two frames.
        known: inverse depths of the same tracks in the previous frame.
    """
    rows = known.information > 0.0
    if not relative.hypotheses or np.count_nonzero(rows) < MIN_TRACKS:
        return relative
    first, second = relative.hypotheses
    difference = _depth_costs(first, rays, known, rows) - _depth_costs(second, rays, known, rows)
    # As in ``second_pose_probability``, the sum is normalised by its empirical standard deviation.
    scatter = float(np.sqrt(np.sum((difference - difference.mean()) ** 2)))
    advantage = float(difference.sum()) / (scatter + 1e-9) / math.sqrt(_TRACKS_PER_OBSERVATION)
    by_depths = float(log_ndtr(advantage) - log_ndtr(-advantage))
    by_images = float(logit(np.clip(relative.second_probability, _MIN_PROBABILITY, 0.5)))
    probability = float(expit(by_images + by_depths))
    if probability > 0.5:
        first, second, probability = second, first, 1.0 - probability
    chosen = replace(first, attention=relative.attention, inlier_probability=relative.inlier_probability)
    return _covering(chosen, second.T_prev_curr, probability)


def resolve_contradiction(relative: RelativePose, image: ImagePose) -> RelativePose:
    """Return the estimator's pose, or the pose by resection where that contradicts it.

    A wrong pose may fit the tracks between two images as well as the true one, which the estimator cannot
    notice. The depths come from further images. If the two poses contradict each other, the resection is
    therefore returned, with a covariance that covers both poses, since the depths may be wrong. A resection
    that fewer than ``_MIN_KNOWN`` tracks of known depth agree with contradicts nothing.

    Args:
        relative: an estimator's pose, not metric.
        image: pose of the same image by resection.
    """
    pose, covariance = image.motion.pose, image.motion.covariance
    length = float(np.linalg.norm(pose.translation))
    if image.known < _MIN_KNOWN or length == 0.0:
        return relative
    # 1. The resection as a pose of unit length; the variance along its translation is nominal.
    direction = pose.translation / length
    along = np.outer(direction, direction)
    to_unit = np.eye(6)
    to_unit[:3, :3] = (np.eye(3) - along) / length
    covariance = _UNMODELLED * to_unit @ covariance @ to_unit.T
    sigma_t = float(np.sqrt(0.5 * np.trace(covariance[:3, :3])))
    covariance[:3, :3] += sigma_t**2 * along
    resected = replace(
        relative,
        T_prev_curr=Pose(pose.rotation, direction),
        covariance=symmetrised(covariance),
        sigma_R=np.sqrt(np.diag(covariance)[3:]),
        sigma_t=sigma_t,
        hypotheses=(),
    )
    # 2. Difference of the two poses in angles and in standard deviations.
    estimated = relative.T_prev_curr
    turn = float(so3.angle(estimated.rotation @ pose.rotation.T))
    angle = float(np.arccos(np.clip(direction @ estimated.translation, -1.0, 1.0)))
    sigma_R = math.hypot(float(np.max(relative.sigma_R)), float(np.max(resected.sigma_R)))
    sigma_angle = math.hypot(relative.sigma_t, sigma_t)
    if turn <= max(_MAX_TURN, _DEVIATIONS * sigma_R) and angle <= max(_MAX_ANGLE, _DEVIATIONS * sigma_angle):
        return relative
    probability = None if relative.inlier_probability is None else min(relative.inlier_probability, 0.5)
    return _covering(replace(resected, inlier_probability=probability), estimated, 0.5)


def _covering(relative: RelativePose, other: Pose, probability: float) -> RelativePose:
    """Return a pose with the covariance of the mixture with another pose of the given probability."""
    step = np.concatenate(
        [
            other.translation - relative.T_prev_curr.translation,
            so3.log(other.rotation @ relative.T_prev_curr.rotation.T),
        ]
    )
    return replace(
        relative,
        covariance=relative.covariance + probability * np.outer(step, step),
        sigma_R=np.sqrt(relative.sigma_R**2 + probability * step[3:] ** 2),
        sigma_t=float(np.sqrt(relative.sigma_t**2 + 0.5 * probability * step[:3] @ step[:3])),
    )


def _depth_costs(
    relative: RelativePose, rays: TrackedRays, known: InverseDepths, rows: NDArray[np.bool_]
) -> Array:
    """Return the squared normalised differences of triangulated and known depths of the chosen tracks."""
    seen = observe(rays, relative.T_prev_curr)
    inverse, variance, known = seen.depths.inverse[rows], seen.variance[rows], known.rows(rows)
    length = step_length(inverse, variance, known).length
    squares = (inverse - length * known.inverse) ** 2 / (variance + length**2 / known.information)
    return np.minimum(squares, _MAXIMUM_COST)

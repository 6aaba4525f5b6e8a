"""Choice between the two poses that a nearly planar scene allows, by depths known from earlier steps.

Both poses explain all tracks between two images of a plane, but they imply planes of different orientation
and therefore different depths, which are compared with the depths known from earlier steps.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logit

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import InverseDepths, step_length
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS, TrackedRays, observe
from iup_pose_ros.types import RelativePose

_MAXIMUM_COST = 9.0  # of one track: squared error in standard deviations
# Limits the over-confidence of two images, whose tracking errors vary smoothly and are not independent.
_MIN_PROBABILITY = 1e-4
_TRACKS_PER_OBSERVATION = 16.0  # errors of neighbouring tracks correlate: this many count as one


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
    step = np.concatenate(
        [
            second.T_prev_curr.translation - first.T_prev_curr.translation,
            so3.log(second.T_prev_curr.rotation @ first.T_prev_curr.rotation.T),
        ]
    )
    return replace(
        first,
        covariance=first.covariance + probability * np.outer(step, step),
        sigma_R=np.sqrt(first.sigma_R**2 + probability * step[3:] ** 2),
        sigma_t=float(np.sqrt(first.sigma_t**2 + 0.5 * probability * step[:3] @ step[:3])),
        attention=relative.attention,
        inlier_probability=relative.inlier_probability,
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

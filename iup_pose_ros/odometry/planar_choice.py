"""Choice between the two poses that a nearly planar scene allows, by depths known from earlier steps.

Within two images of a plane both poses explain every track. They disagree about the depths: under the wrong
pose the plane has another slant, which the depths that tracks bring along from earlier steps contradict.
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
# Smooth tracking errors make two images surer of one of the poses than they can be.
_MIN_PROBABILITY = 1e-4
_TRACKS_PER_OBSERVATION = 16.0  # neighbouring tracks err alike; so many count as one independent track


def resolve_ambiguity(relative: RelativePose, rays: TrackedRays, known: InverseDepths) -> RelativePose:
    """Return the one of two hypotheses that the images and the known depths together support.

    Its covariance covers the other by the probability that is left to it. The pose is returned as it is where
    it has no hypotheses, or fewer than ``MIN_TRACKS`` tracks have known depths.

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
    # As in ``second_pose_probability``, the scatter of the difference is the measure of its sum.
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
    """Return the costs of the chosen tracks: how far the depths that a pose shows are from the known ones."""
    seen = observe(rays, relative.T_prev_curr)
    inverse, variance, known = seen.depths.inverse[rows], seen.variance[rows], known.rows(rows)
    length = step_length(inverse, variance, known).length
    squares = (inverse - length * known.inverse) ** 2 / (variance + length**2 / known.information)
    return np.minimum(squares, _MAXIMUM_COST)

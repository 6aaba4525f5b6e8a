"""Inverse depths of tracks in units of the trajectory, and step lengths computed from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array, exp, hat
from iup_pose_ros.odometry.scaled_step import UNKNOWN_DIRECTION, ScaledStep
from iup_pose_ros.odometry.track_geometry import (
    MIN_TRACKS,
    StepDepths,
    TrackedRays,
    observe,
    step_depths,
)

# Scale of the robust weight, in standard deviations: here the weight is a quarter.
_TOLERANCE = 3.0
_ITERATIONS = 10
_GATE = 3.0
# Minimum relative standard deviation of a depth: a track's patch is not a point.
_MIN_RELATIVE_SIGMA = 0.02
_PERTURBATION = 1e-5


@dataclass(frozen=True, eq=False)
class InverseDepths:
    """Inverse depths along z of the tracks in the latest keyframe.

    Attributes:
        ids: (N,) ids of the tracks, ascending.
        inverse: (N,) in 1 / unit of the trajectory.
        information: (N,) inverse variances of the independent errors; 0 if unknown.
        common: (N, 6) errors common to all tracks, which come from the pose of the last step: they are
            ``common`` times six independent variables of unit variance.
    """

    ids: NDArray[np.int64]
    inverse: Array
    information: Array
    common: Array

    @classmethod
    def none(cls) -> InverseDepths:
        """Return the depths of no tracks."""
        return cls.independent(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    @classmethod
    def independent(cls, ids: NDArray[np.int64], inverse: Array, information: Array) -> InverseDepths:
        """Return depths without common errors."""
        return cls(ids, inverse, information, np.zeros((len(ids), 6)))

    def of(self, ids: NDArray[np.int64]) -> InverseDepths:
        """Return the depths of the tracks ``ids``, row by row; without information for unknown tracks."""
        found = InverseDepths.independent(ids, np.zeros(len(ids)), np.zeros(len(ids)))
        _, here, there = np.intersect1d(self.ids, ids, assume_unique=True, return_indices=True)
        found.inverse[there], found.information[there] = self.inverse[here], self.information[here]
        found.common[there] = self.common[here]
        return found

    def rows(self, rows: NDArray[np.bool_]) -> InverseDepths:
        """Return only the chosen tracks (N,)."""
        return InverseDepths(self.ids[rows], self.inverse[rows], self.information[rows], self.common[rows])

    def trusted(self, rows: NDArray[np.bool_]) -> InverseDepths:
        """Return the same tracks, with information only for the chosen ones (N,)."""
        return replace(self, information=np.where(rows, self.information, 0.0))

    def replaced(self, ids: NDArray[np.int64], inverse: Array) -> InverseDepths:
        """Return the depths with new values (M,) of the tracks ``ids`` (M,), where they are among these."""
        changed = self.inverse.copy()
        _, here, there = np.intersect1d(self.ids, ids, assume_unique=True, return_indices=True)
        changed[here] = inverse[there]
        return replace(self, inverse=changed)

    def fused(self, inverse: Array, information: Array) -> InverseDepths:
        """Fuse with a new measurement (N,) of the same tracks; inconsistent tracks lose their information."""
        total = self.information + information
        mean = (self.information * self.inverse + information * inverse) / np.maximum(total, 1e-300)
        product = self.information * information / np.maximum(total, 1e-300)
        consistent = product * (self.inverse - inverse) ** 2 <= _GATE**2
        limit = 1.0 / np.maximum(_MIN_RELATIVE_SIGMA * np.abs(mean), 1e-9) ** 2
        known = np.where(consistent, np.minimum(total, limit), 0.0)
        return replace(self, inverse=mean, information=known)

    def scaled(self, factor: float) -> InverseDepths:
        """Return the depths in a unit of length that is ``factor`` times as long."""
        return InverseDepths(
            self.ids, self.inverse * factor, self.information / factor**2, self.common * factor
        )

    def moved(self, rays: Array, T_prev_curr: Pose) -> InverseDepths:
        """Return the depths of the tracks, on rays (N, 3) of the previous camera, in the current camera."""
        turned = (rays @ T_prev_curr.rotation)[:, 2]
        depth_ratio = turned - self.inverse * (T_prev_curr.rotation.T @ T_prev_curr.translation)[2]
        visible = (depth_ratio > 0.05) & (turned > 0.05)
        safe = np.where(visible, depth_ratio, 1.0)
        slope = np.maximum(turned, 0.05) / safe**2
        information = np.where(visible, self.information / slope**2, 0.0)
        return InverseDepths(self.ids, self.inverse / safe, information, self.common * slope[:, None])


@dataclass(frozen=True, eq=False)
class StepLength:
    """Length of a step in units of the trajectory.

    Attributes:
        length: the length.
        sigma: its standard deviation due to the tracks' noise.
        weights: (N,) derivative of the length with respect to each track's inverse depth in steps.
    """

    length: float
    sigma: float
    weights: Array


def step_length(mu: Array, variance: Array, known: InverseDepths) -> StepLength:
    """Fit the length s in mu = s rho, given inverse depths in steps (mu) and known inverse depths (rho).

    Both sides have errors, and ordinary least squares on a noisy rho would bias s towards zero; therefore
    (mu - s rho)^2 / (var_mu + s^2 var_rho) is minimised by iteratively reweighted Gauss-Newton steps.

    Args:
        mu: (N,) inverse depths in steps.
        variance: (N,) their variances.
        known: inverse depths of the same tracks, all with information.
    """
    rho, rho_variance = known.inverse, 1.0 / known.information
    # Start: the weighted median of the lengths that single tracks give.
    lengths = mu / np.where(rho == 0.0, 1e-12, rho)
    order = np.argsort(lengths)
    cumulative = np.cumsum((np.abs(rho) / np.sqrt(variance))[order])
    length = float(lengths[order][np.searchsorted(cumulative, 0.5 * cumulative[-1])])
    for _ in range(_ITERATIONS):
        total = variance + length**2 * rho_variance
        error = mu - length * rho
        weight = robust_weight(error**2 / total) / total
        likely_rho = rho + error * length * rho_variance / total
        information = float(np.sum(weight * likely_rho**2))
        length += float(np.sum(weight * likely_rho * error)) / information
    spread = float(np.average(error**2 / total, weights=weight * total))
    sigma = float(np.sqrt(max(1.0, spread) / information))
    return StepLength(length, sigma, weight * likely_rho / information)


def robust_weight(square: Array) -> Array:
    """Return Geman-McClure weights (N,) of squared normalised errors."""
    return 1.0 / (1.0 + square / _TOLERANCE**2) ** 2


def pose_jacobian(
    weights: Array, depths_of: Callable[[Pose], StepDepths], T_prev_curr: Pose, nominal: StepDepths
) -> Array:
    """Return the derivative (6,) of a step's length by the pose's error, in the order of its covariance.

    Args:
        weights: (N,) of StepLength.
        depths_of: the tracks' depths for another pose of unit translation.
        T_prev_curr: the pose, of unit translation.
        nominal: the depths for that pose.
    """
    jacobian = np.zeros(6)
    for axis in range(6):
        error = np.zeros(6)
        error[axis] = _PERTURBATION
        translation = T_prev_curr.translation + error[:3]
        moved = Pose(exp(error[3:]) @ T_prev_curr.rotation, translation / np.linalg.norm(translation))
        jacobian[axis] = weights @ (depths_of(moved).inverse - nominal.inverse) / _PERTURBATION
    return jacobian


def depths_after_step(
    known: InverseDepths, rays: TrackedRays, step: ScaledStep
) -> tuple[InverseDepths, float]:
    """Return the depths of the tracks in the current camera, from a step and the depths known before.

    If the step is not the one that the known depths imply, for example because its length is configured, they
    are rescaled, so that the depths always have the scale of the last step.

    Args:
        known: inverse depths of the tracks in the previous camera.
        rays: N tracks.
        step: the step; the errors of its pose are common to all depths that it determines.

    Returns:
        the depths, and the factor by which lengths were rescaled.
    """
    pose = step.camera.pose
    length = float(np.linalg.norm(pose.translation))
    if length == 0.0 or step.sigma_t >= UNKNOWN_DIRECTION:
        return known.moved(rays.previous, pose), 1.0
    seen = observe(rays, Pose(pose.rotation, pose.translation / length))
    if not seen.shows_direction:
        return known.moved(rays.previous, pose), 1.0
    known, factor = known.trusted(seen.agreeing), 1.0
    rows = known.information > 0.0
    if np.count_nonzero(rows) >= MIN_TRACKS:
        implied = step_length(seen.depths.inverse[rows], seen.variance[rows], known.rows(rows)).length
        if implied > 0.0:
            known, factor = known.scaled(implied / length), length / implied
        else:
            known = known.trusted(np.zeros_like(rows))
    information = np.where(seen.agreeing, length**2 / seen.variance, 0.0)
    fused = known.fused(seen.depths.inverse / length, information)
    slopes = np.zeros((len(rays), 6))
    for axis, size in enumerate([_PERTURBATION * length] * 3 + [_PERTURBATION] * 3):
        error = np.zeros(6)
        error[axis] = size
        disturbed = step_depths(rays, pose.corrected(error))
        slopes[:, axis] = (disturbed.inverse - seen.depths.inverse / length) / size
    common = slopes @ np.linalg.cholesky(step.camera.covariance)
    return replace(fused, common=common).moved(rays.previous, pose), factor


def translation_from_depths(
    rays: TrackedRays, R_prev_curr: Array, rotation_covariance: Array, known: InverseDepths, noise: float
) -> tuple[Array, Array]:
    """Estimate the translation from known depths if the parallax is too small to determine its direction.

    Args:
        rays: N tracks.
        R_prev_curr: (3, 3).
        rotation_covariance: (3, 3) about the previous camera's axes.
        known: inverse depths of the same tracks; those without information are ignored.
        noise: standard deviation of the tracks, pixels.

    Returns:
        translation (3,) in the previous frame and covariance (6, 6) of the pose, ROS convention.
    """
    projection = np.zeros((len(rays), 2, 3))
    projection[:, 0, 0] = projection[:, 1, 1] = 1.0
    projection[:, :, 2] = -rays.current[:, :2]
    projection = projection @ R_prev_curr.T
    offset = np.einsum("nij,nj->ni", projection, rays.previous)
    depth_ratio = (rays.previous @ R_prev_curr)[:, 2]
    rho_variance = np.where(known.information > 0.0, 1.0 / np.maximum(known.information, 1e-300), 0.0)
    design = np.where(known.information > 0.0, known.inverse, 0.0)[:, None, None] * projection
    # Prior of ten times the median depth, which keeps the system regular if all points are distant.
    typical = float(np.median(np.abs(known.inverse[known.information > 0.0])))
    prior = np.eye(3) * (0.1 * max(typical, 1e-6)) ** 2
    translation = np.zeros(3)
    for _ in range(_ITERATIONS):
        error = offset - design @ translation
        lever = np.sum((projection @ translation) ** 2, axis=1)
        total = (noise / rays.focal * depth_ratio) ** 2 + lever * rho_variance
        weight = robust_weight(np.sum(error**2, axis=1) / total) / total
        normal = np.einsum("n,nij,nik->jk", weight, design, design) + prior
        translation = np.linalg.solve(normal, np.einsum("n,nij,ni->j", weight, design, offset))
    inverse = np.linalg.inv(normal)
    turning = projection @ hat(rays.previous)
    lever_arm = inverse @ np.einsum("n,nij,nik->jk", weight, design, turning)
    joint = np.vstack([lever_arm, np.eye(3)])
    covariance = joint @ rotation_covariance @ joint.T
    covariance[:3, :3] += inverse
    return translation, covariance

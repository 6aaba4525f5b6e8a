"""Covariance of a relative pose from the epipolar errors of its inlier matches.

Least squares would give noise^2 (J^T J)^-1. What real matches do to that is added here, each for a reason:

* The noise is that of the M-estimate made, from the residuals themselves (Huber, "Robust statistics", ch. 6).
* Only as much noise is independent from match to match as an exact tracker has. What is beyond it comes from
  the lens, a rolling shutter, patches that turn: it varies smoothly over the image, and more matches do not
  average it out. So does what neighbours' residuals are seen to have in common (clustered errors: Moulton,
  "Random group effects and the precision of regression estimates", 1986).
* Noise alone seems to support a direction: even if the camera only turns, J's direction columns hold the
  noise of the points. That share is taken away (errors in variables), with a margin for its scatter.
* Outliers that lie near an epipolar line by chance look like near points and would seem to fix the direction.
  As many matches as can be expected to do so, the most influential ones, are left out.
* What is known without any match: a rotation, and a direction of which nothing is known.
* Intrinsics are known up to a calibration's errors, which no residual shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import norm, poisson

from iup_pose_ros.estimators.epipolar.residuals import EpipolarErrors
from iup_pose_ros.geometry.so3 import Array

# Per axis, in the tangent plane, of a direction of which nothing is known: the angle to a direction drawn
# evenly from the sphere has the mean square (pi^2 - 4) / 2.
UNKNOWN_DIRECTION_SIGMA = float(np.sqrt((np.pi**2 - 4.0) / 4.0))
_UNKNOWN_ROTATION_SIGMA = float(np.pi)
# Cauchy's weight of this width, in standard deviations, is 95 % efficient for normal noise (Zhang, 1997).
CAUCHY_SCALE = 2.385

_LEAST_SLOPE = 0.1

_POSE_PARAMETERS = 5
# Standard deviations of Gaussian kernels, as shares of the longer image side: within a patch or two residuals
# show what matches have in common; what they share is as smooth as the other.
_NEIGHBOURHOOD = 0.03
_SMOOTHNESS = 0.2
_MAX_CORRELATION = 0.98
_CHANCE_CORRELATION = 2.0  # standard deviations of the correlation seen where there is none
# The pose takes up most of a smooth error: its variance over that of what is left in the residuals.
_TAKEN_UP = 3.0
# Margin for the scatter of the noise in the direction's information, in standard deviations.
_MARGIN = 3.0
_CHANCE_SIGNIFICANCE = 0.05
_MAX_CHANCE_SHARE = 0.25


@dataclass(frozen=True)
class IntrinsicsUncertainty:
    """Standard deviations of the errors that a careful calibration with a board leaves.

    Attributes:
        focal: of the focal lengths, relative.
        principal_point: of each of its coordinates, relative to the longer image side.
        distortion: of the radial distortion left at the image corners, relative to the longer image side.
    """

    focal: float = 0.002
    principal_point: float = 0.002
    distortion: float = 0.001


def noise_scale(residuals: Array, limit: float) -> float:
    """Standard deviation, by their median, of normal residuals (N,) given only where below ``limit``.

    At most ``limit``: beyond that the residuals cannot be told from evenly distributed ones.
    """
    ratios = np.linspace(0.02, 1.0, 50)
    medians = ratios * norm.ppf(0.5 + 0.25 * (2.0 * norm.cdf(1.0 / ratios) - 1.0))
    return limit * float(np.interp(np.median(np.abs(residuals)) / limit, medians, ratios))


def pose_covariance(
    errors: EpipolarErrors,
    noise: float,
    independent_noise: float,
    outliers: int,
    uncertainty: IntrinsicsUncertainty,
) -> Array:
    """Covariance (5, 5) of rotation and direction (EpipolarErrors), radians^2; positive definite.

    Args:
        errors: of the inliers, under the estimated pose.
        noise: scale of the residuals for which the pose was estimated, pixels.
        independent_noise: most of it that can be independent from match to match, pixels.
        outliers: number of matches that are no inliers.
        uncertainty: of the intrinsics.
    """
    kept = _without_chance_inliers(errors, noise, outliers)
    variance = _m_estimate_variance(kept.residuals, noise)
    prior = np.diag([_UNKNOWN_ROTATION_SIGMA**-2] * 3 + [UNKNOWN_DIRECTION_SIGMA**-2] * 2)
    gram = kept.jacobian.T @ kept.jacobian + variance * prior
    distances = _squared_distances(kept)
    correlation = _correlation(kept.residuals, distances, min(1.0, (independent_noise / noise) ** 2))
    alike = _closeness(distances, _SMOOTHNESS)
    smooth = kept.jacobian.T @ alike @ kept.jacobian + variance * prior
    scatter = variance * ((1.0 - correlation) * gram + _TAKEN_UP * correlation * smooth)
    # Squares of noise correlate by the square.
    shared = correlation**2 * (np.square(alike).sum() / len(alike) - 1.0)
    effective_count = len(kept.matches) / (1.0 + shared)
    signal = _without_noise(gram, variance * kept.direction_noise.sum(axis=0), effective_count)
    # M-estimation's sandwich, inverted: signal scatter^-1 signal.
    gain = np.linalg.solve(scatter, signal).T
    covariance = np.linalg.inv(gain @ signal + prior)
    deviations = [uncertainty.focal] + [uncertainty.principal_point] * 2 + [uncertainty.distortion]
    by_intrinsics = covariance @ gain @ kept.jacobian.T @ kept.intrinsics_jacobian()
    by_intrinsics *= np.tile(deviations, by_intrinsics.shape[1] // len(deviations))
    return covariance + by_intrinsics @ by_intrinsics.T


def _m_estimate_variance(residuals: Array, noise: float) -> float:
    """Variance of one residual's influence on Cauchy's M-estimate, squared pixels."""
    square = (residuals / (CAUCHY_SCALE * noise)) ** 2
    weight = 1.0 / (1.0 + square)
    slope = float(np.mean((1.0 - square) * weight**2))
    freedom = len(residuals) / max(len(residuals) - _POSE_PARAMETERS, 1)
    variance = float(np.mean((weight * residuals) ** 2)) / max(slope, _LEAST_SLOPE) ** 2
    return max(variance, noise**2) * freedom


def _without_chance_inliers(errors: EpipolarErrors, noise: float, outliers: int) -> EpipolarErrors:
    """The errors without the most influential matches, as many as may be outliers that fit by chance.

    Any two outliers can be met by a suitable direction; beyond these, the share of the image that lies near
    an epipolar line is met, over all choices of two (a-contrario reasoning: Moisan and Stival, 2004).
    """
    if outliers == 0:
        return errors
    camera = errors.cameras.current
    longer_side = max(camera.width, camera.height)
    expected = outliers * 6.0 * noise * longer_side / (camera.width * camera.height)
    choices = max(outliers * (outliers - 1) // 2, 1)
    count = min(2 + int(poisson.isf(_CHANCE_SIGNIFICANCE / choices, expected)), outliers)
    count = min(count, int(_MAX_CHANCE_SHARE * len(errors.matches)))
    kept = np.sort(np.argsort(_direction_influence(errors))[: len(errors.matches) - count])
    return EpipolarErrors(errors.T_prev_curr, errors.matches.chosen(kept), errors.cameras)


def _direction_influence(errors: EpipolarErrors) -> Array:
    """(N,) squared derivative by the direction, the rotation following, in units of its noise."""
    by_rotation, by_direction = errors.jacobian[:, :3], errors.jacobian[:, 3:]
    following = np.linalg.lstsq(by_rotation, by_direction, rcond=None)[0]
    free = by_direction - by_rotation @ following
    noise = _regular(errors.direction_noise.sum(axis=0))
    return np.sum(free * np.linalg.solve(noise, free.T).T, axis=1)


def _squared_distances(errors: EpipolarErrors) -> Array:
    """(N, N) between the matches' points in the previous image, in shares of its longer side."""
    camera = errors.cameras.previous
    points = errors.matches.points_prev / max(camera.width, camera.height)
    return np.asarray(squareform(pdist(points, "sqeuclidean")))


def _closeness(distances: Array, reach: float) -> Array:
    """Gaussian kernel of squared distances."""
    return np.asarray(np.exp(-0.5 / reach**2 * distances))


def _correlation(residuals: Array, distances: Array, independent_share: float) -> float:
    """Correlation, 0 to 1, of the residuals (N,) of matches side by side: what is seen, and what noise tells.

    Args:
        residuals: of the matches.
        distances: (N, N) squared, between them.
        independent_share: greatest share of the residuals' variance that can be independent.
    """
    weights = _closeness(distances, _NEIGHBOURHOOD) - np.eye(len(residuals))
    total = max(float(weights.sum()), 1e-9)
    product = float(residuals @ weights @ residuals) / total
    chance = _CHANCE_CORRELATION * np.sqrt(2.0 * np.sum(weights**2)) / total
    seen = np.clip(product / max(float(np.mean(residuals**2)), 1e-12) - chance, 0.0, 1.0)
    return float(min(1.0 - independent_share * (1.0 - seen), _MAX_CORRELATION))


def _without_noise(gram: Array, direction_noise: Array, effective_count: float) -> Array:
    """J^T J (5, 5) less what noise adds to the direction's part, given the rotation.

    In units of the noise the direction's part has eigenvalues 1 + s, of which s is signal. For normal noise
    these scatter over n matches with the variance (2 + 4 s) / n, and the unit itself with 2 / n.
    """
    across = gram[:3, 3:]
    following = across.T @ np.linalg.solve(gram[:3, :3], across)
    root = np.linalg.cholesky(_regular(direction_noise))
    whitened = np.linalg.solve(root, np.linalg.solve(root, gram[3:, 3:] - following).T)
    values, vectors = np.linalg.eigh(0.5 * (whitened + whitened.T))
    signal = values - 1.0
    signal = signal - _MARGIN * np.sqrt((4.0 + 4.0 * np.maximum(signal, 0.0)) / effective_count)
    part = root @ (vectors * np.maximum(signal, 0.0)) @ vectors.T @ root.T
    result = gram.copy()
    result[3:, 3:] = part + following
    return result


def _regular(matrix: Array) -> Array:
    """A positive semidefinite matrix (n, n) made safely invertible."""
    return matrix + (1e-9 * np.trace(matrix) + 1e-30) * np.eye(len(matrix))

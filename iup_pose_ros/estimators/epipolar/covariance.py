"""Covariance of a relative pose from the Sampson errors of its inlier matches.

Least squares with independent noise would give noise^2 (J^T J)^-1. Corrections for real matches:

* M-estimation: the variance is that of the robust estimate, from the residuals (Huber, "Robust statistics",
  ch. 6).
* Correlated errors: only the noise of an accurate tracker is independent between matches. Larger errors are
  caused by lens distortion, rolling shutter or rotating patches. They vary smoothly over the image and are
  not averaged out by more matches. The same holds for the observed correlation of neighbouring residuals
  (clustered errors: Moulton, "Random group effects and the precision of regression estimates", 1986).
* Errors in variables: noise of the points contributes to the direction columns of J, even for a pure
  rotation. This spurious information is subtracted, with a margin for its statistical variation.
* Chance inliers: outliers close to an epipolar line look like near points and seem to determine the
  direction. The expected number of such matches is removed, starting with the most influential ones.
* Prior: rotation and direction are bounded even without matches.
* Intrinsics: errors of the camera calibration, which do not show in the residuals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.special import ndtr, ndtri, pdtr, pdtrik

from iup_pose_ros.estimators.epipolar.residuals import EpipolarErrors
from iup_pose_ros.geometry.so3 import Array

# Standard deviation per axis of the tangent plane of a uniformly distributed direction: the mean square of
# its angle to any given direction is (pi^2 - 4) / 2.
UNKNOWN_DIRECTION_SIGMA = float(np.sqrt((np.pi**2 - 4.0) / 4.0))
_UNKNOWN_ROTATION_SIGMA = float(np.pi)
# Scale of the Cauchy loss in standard deviations: 95 % efficiency for normal noise (Zhang, 1997).
CAUCHY_SCALE = 2.385

_MIN_SLOPE = 0.1

_POSE_PARAMETERS = 5
# Standard deviations of Gaussian kernels relative to the longer image side: the first one selects the
# neighbours whose correlation is measured, the second one is the correlation length of smooth errors.
_NEIGHBOURHOOD = 0.03
_SMOOTHNESS = 0.2
_MAX_CORRELATION = 0.98
_CHANCE_CORRELATION = 2.0  # margin for the measured correlation of independent errors, standard deviations
# The pose absorbs most of a smooth error: ratio of its variance to that of the remaining residuals.
_ABSORBED = 3.0
# Margin for the statistical variation of the noise in the direction's information, standard deviations.
_MARGIN = 3.0
# Rolling shutter: standard deviation of the sideways shift of the last row relative to the first one, as the
# difference of both images, relative to the image width.
_ROW_SHIFT = 0.05
_CHANCE_SIGNIFICANCE = 0.05
_MAX_CHANCE_SHARE = 0.25
# Normal residuals truncated at a threshold: standard deviation and median absolute value, relative to it.
_SIGMA_RATIOS = np.linspace(0.02, 1.0, 50)
_MEDIAN_RATIOS = _SIGMA_RATIOS * ndtri(0.5 + 0.25 * (2.0 * ndtr(1.0 / _SIGMA_RATIOS) - 1.0))


@dataclass(frozen=True)
class IntrinsicsUncertainty:
    """Standard deviations of the intrinsics; defaults are those of a careful calibration with a board.

    Attributes:
        focal: relative error of the focal lengths.
        principal_point: error of each coordinate, relative to the longer image side.
        distortion: residual radial distortion at the image corners, relative to the longer image side.
    """

    focal: float = 0.002
    principal_point: float = 0.002
    distortion: float = 0.001


def noise_scale(residuals: Array, limit: float) -> float:
    """Estimate the standard deviation of normal residuals that are truncated at ``limit``, by their median.

    The result is at most ``limit``: with more noise, the distribution cannot be told from a uniform one.

    Args:
        residuals: (N,) with absolute values below ``limit``.
        limit: truncation threshold.
    """
    return limit * float(np.interp(np.median(np.abs(residuals)) / limit, _MEDIAN_RATIOS, _SIGMA_RATIOS))


def pose_covariance(
    errors: EpipolarErrors,
    noise: float,
    independent_noise: float,
    outliers: int,
    uncertainty: IntrinsicsUncertainty,
) -> Array:
    """Compute the covariance (5, 5) of rotation and direction, radians^2; positive definite.

    Args:
        errors: errors of the inliers under the estimated pose.
        noise: scale of the residuals in the robust estimation of the pose, pixels.
        independent_noise: maximum standard deviation of errors that are independent between matches, pixels.
        outliers: number of outliers.
        uncertainty: uncertainty of the intrinsics.
    """
    # 1. Inliers without the expected number of chance inliers, and the variance of a residual.
    kept = _without_chance_inliers(errors, noise, outliers)
    variance = _m_estimate_variance(kept.residuals, noise)
    prior = np.diag([_UNKNOWN_ROTATION_SIGMA**-2] * 3 + [UNKNOWN_DIRECTION_SIGMA**-2] * 2)
    gram = kept.jacobian.T @ kept.jacobian + variance * prior
    # 2. Covariance of the gradient J^T r for independent and for spatially correlated errors.
    camera = kept.cameras.previous
    points = kept.matches.points_prev / max(camera.width, camera.height)
    distances = np.asarray(squareform(pdist(points, "sqeuclidean")))
    correlation = _correlation(kept.residuals, distances, min(1.0, (independent_noise / noise) ** 2))
    alike = _kernel(distances, _SMOOTHNESS)
    smooth = kept.jacobian.T @ alike @ kept.jacobian + variance * prior
    scatter = variance * ((1.0 - correlation) * gram + _ABSORBED * correlation * smooth)
    # 3. Information without the contribution of noise. Squares of noise have the squared correlation.
    shared = correlation**2 * (np.square(alike).sum() / len(alike) - 1.0)
    effective_count = len(kept.matches) / (1.0 + shared)
    signal = _without_noise(gram, variance * kept.direction_noise.sum(axis=0), effective_count)
    # 4. Inverse of the sandwich estimator, signal scatter^-1 signal.
    gain = np.linalg.solve(scatter, signal).T
    covariance = np.linalg.inv(gain @ signal + prior)
    # 5. Errors of the intrinsics, propagated to the pose.
    deviations = [uncertainty.focal] + [uncertainty.principal_point] * 2 + [uncertainty.distortion]
    by_intrinsics = covariance @ gain @ kept.jacobian.T @ kept.intrinsics_jacobian()
    by_intrinsics *= np.tile(deviations, by_intrinsics.shape[1] // len(deviations))
    return covariance + by_intrinsics @ by_intrinsics.T


def shutter_covariance(errors: EpipolarErrors, noise: float) -> Array:
    """Compute the covariance (5, 5), radians^2, that a rolling shutter adds to that of a pose.

    A pose absorbs most of what the shutter does to the matches; the rest shows in the residuals. The shift of
    the rows is estimated together with the pose, and the squared change of the pose is its covariance: it is
    large where the residuals show a shift, or hardly determine both, as in a planar scene.

    Args:
        errors: errors of the inliers under the estimated pose.
        noise: standard deviation of the residuals, pixels.
    """
    by_shift = errors.row_shift_jacobian()
    absorbed = np.linalg.lstsq(errors.jacobian, by_shift, rcond=None)[0]
    visible = by_shift - errors.jacobian @ absorbed
    shift = visible @ errors.residuals / (visible @ visible + (noise / _ROW_SHIFT) ** 2)
    change = shift * absorbed
    return np.outer(change, change)


def _m_estimate_variance(residuals: Array, noise: float) -> float:
    """Return the variance of a residual in Cauchy's M-estimate, squared pixels."""
    square = (residuals / (CAUCHY_SCALE * noise)) ** 2
    weight = 1.0 / (1.0 + square)
    slope = float(np.mean((1.0 - square) * weight**2))
    freedom = len(residuals) / max(len(residuals) - _POSE_PARAMETERS, 1)
    variance = float(np.mean((weight * residuals) ** 2)) / max(slope, _MIN_SLOPE) ** 2
    return max(variance, noise**2) * freedom


def _without_chance_inliers(errors: EpipolarErrors, noise: float, outliers: int) -> EpipolarErrors:
    """Remove the most influential matches, as many as may be outliers that are inliers by chance.

    Some direction fits any two outliers. Further outliers are inliers with the probability to be close to
    their epipolar lines, for the best choice of two (a-contrario model: Moisan and Stival, 2004).
    """
    if outliers == 0:
        return errors
    camera = errors.cameras.current
    longer_side = max(camera.width, camera.height)
    expected = outliers * 6.0 * noise * longer_side / (camera.width * camera.height)
    choices = max(outliers * (outliers - 1) // 2, 1)
    # 1. Quantile of the Poisson distribution of further inliers; importing scipy.stats would take a second.
    probability = 1.0 - _CHANCE_SIGNIFICANCE / choices
    further = math.ceil(pdtrik(probability, expected))
    if further > 0 and pdtr(further - 1, expected) >= probability:
        further -= 1
    count = min(2 + further, outliers, int(_MAX_CHANCE_SHARE * len(errors.matches)))
    # 2. Influence: squared derivatives by the direction, with rotation eliminated, in units of noise.
    by_rotation, by_direction = errors.jacobian[:, :3], errors.jacobian[:, 3:]
    following = np.linalg.lstsq(by_rotation, by_direction, rcond=None)[0]
    free = by_direction - by_rotation @ following
    unit = _regular(errors.direction_noise.sum(axis=0))
    influence = np.sum(free * np.linalg.solve(unit, free.T).T, axis=1)
    kept = np.sort(np.argsort(influence)[: len(errors.matches) - count])
    return EpipolarErrors(errors.T_prev_curr, errors.matches.chosen(kept), errors.cameras)


def _kernel(squared_distances: Array, sigma: float) -> Array:
    return np.asarray(np.exp(-0.5 / sigma**2 * squared_distances))


def _correlation(residuals: Array, distances: Array, independent_share: float) -> float:
    """Return the correlation, 0 to 1, of the residuals of neighbouring matches.

    It is the measured correlation, and at least that which follows from the level of the noise.

    Args:
        residuals: (N,) pixels.
        distances: (N, N) squared distances of the matches, relative to the longer image side.
        independent_share: maximum fraction of the residuals' variance that can be independent.
    """
    weights = _kernel(distances, _NEIGHBOURHOOD) - np.eye(len(residuals))
    total = max(float(weights.sum()), 1e-9)
    product = float(residuals @ weights @ residuals) / total
    chance = _CHANCE_CORRELATION * np.sqrt(2.0 * np.sum(weights**2)) / total
    seen = np.clip(product / max(float(np.mean(residuals**2)), 1e-12) - chance, 0.0, 1.0)
    return float(min(1.0 - independent_share * (1.0 - seen), _MAX_CORRELATION))


def _without_noise(gram: Array, direction_noise: Array, effective_count: float) -> Array:
    """Subtract the contribution of noise from the direction block of J^T J (5, 5), given the rotation.

    In units of the noise, the direction block has eigenvalues 1 + s, where s is signal. For normal noise and
    n matches, their variance is (2 + 4 s) / n, and that of the unit is 2 / n.

    Args:
        gram: (5, 5) J^T J.
        direction_noise: (2, 2) expected contribution of noise to the direction block.
        effective_count: number n of independent matches.
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
    """Regularise a positive semidefinite matrix (n, n), so that it is invertible."""
    return matrix + (1e-9 * np.trace(matrix) + 1e-30) * np.eye(len(matrix))

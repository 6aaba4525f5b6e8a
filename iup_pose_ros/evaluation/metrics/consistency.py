"""Covariance consistency of relative poses: NEES and coverage. No I/O.

A monocular camera does not observe scale. Rotation (3 degrees of freedom) and translation direction (2, in
the tangent plane of the unit sphere) are therefore evaluated separately.
Source: Bar-Shalom, Li, Kirubarajan, "Estimation with applications to tracking and navigation", section 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm, spearmanr

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import NO_MOTION, Pose, PoseWithCovariance, tangent_basis
from iup_pose_ros.geometry.so3 import Array

SIGMAS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Consistency:
    """Normalised estimation errors squared (NEES), e^T Sigma^-1 e, of N errors.

    For a consistent estimator the NEES follows a chi-square distribution with ``dof`` degrees of freedom and
    has mean ``dof``; a larger mean indicates over-confidence.

    Attributes:
        nees: (N,), no unit.
        dof: degrees of freedom of each error.
    """

    nees: Array
    dof: int

    @property
    def mean(self) -> float:
        """Return the mean NEES; NaN without errors."""
        return float(self.nees.mean()) if len(self.nees) else float("nan")

    @property
    def expected_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the mean NEES of a consistent estimator; NaN without errors."""
        count = len(self.nees)
        if count == 0:
            return float("nan"), float("nan")
        low, high = chi2.ppf([0.025, 0.975], count * self.dof) / count
        return float(low), float(high)

    @property
    def coverage(self) -> dict[int, float]:
        """Return the fraction of errors inside the k-sigma region, k = 1, 2, 3; NaN without errors.

        In any dimension the k-sigma region is the ellipsoid with the probability of k sigma in one dimension,
        so that a consistent estimator gives 0.683, 0.954 and 0.997 for every ``dof``.
        """
        if len(self.nees) == 0:
            return dict.fromkeys(SIGMAS, float("nan"))
        return {k: float(np.mean(self.nees <= chi2.ppf(nominal_coverage(k), self.dof))) for k in SIGMAS}


@dataclass(frozen=True, eq=False)
class NormalErrors:
    """N errors, expressed along the principal axes of their covariances.

    Attributes:
        components: (N, d), radians.
        variances: (N, d), positive, radians^2.
    """

    components: Array
    variances: Array

    def __len__(self) -> int:
        return len(self.components)

    def consistency(self, factor: float = 1.0, floor: float = 0.0) -> Consistency:
        """Return the NEES after scaling the sigmas by ``factor`` and adding ``floor`` in quadrature.

        Args:
            factor: multiplier of the standard deviations.
            floor: standard deviation added in quadrature, radians.
        """
        variances = factor**2 * self.variances + floor**2
        return Consistency((self.components**2 / variances).sum(axis=1), self.components.shape[1])

    @property
    def rank_correlation(self) -> float:
        """Return Spearman's rank correlation of sigma and error; NaN if one of them does not vary."""
        sigmas = np.sqrt(self.variances.sum(axis=1))
        errors = np.linalg.norm(self.components, axis=1)
        if len(self) == 0 or np.ptp(sigmas) == 0.0 or np.ptp(errors) == 0.0:
            return float("nan")
        return float(spearmanr(sigmas, errors).statistic)


def nominal_coverage(sigmas: float) -> float:
    """Return the probability that a normal variable lies within ``sigmas`` sigma: 0.683 for 1."""
    return float(2.0 * norm.cdf(sigmas) - 1.0)


def rotation_errors(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> NormalErrors:
    """Compute the rotation errors of relative poses ``T_prev_curr``, in the previous frame.

    Raises:
        DataError: a covariance is not positive definite.
    """
    found = []
    for estimate, reference in zip(estimates, references, strict=True):
        error = so3.log(reference.rotation @ estimate.pose.rotation.T)
        found.append(_along_axes(error, estimate.covariance[3:, 3:], "rotation"))
    return _stacked(found, 3)


def direction_errors(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> NormalErrors:
    """Compute the translation direction errors of relative poses ``T_prev_curr`` of any scale.

    The error is the logarithm map of the true direction at the estimated direction on the unit sphere. Its
    covariance is that of the translation, projected to the tangent plane and divided by the squared length.
    Pairs whose estimated or true translation is zero have no direction and are skipped.

    Raises:
        DataError: a covariance is not positive definite.
    """
    found = []
    for estimate, reference in zip(estimates, references, strict=True):
        translation = estimate.pose.translation
        length = float(np.linalg.norm(translation))
        if min(length, float(np.linalg.norm(reference.translation))) < NO_MOTION:
            continue
        basis = tangent_basis(translation / length)
        error = tangent_error(translation, reference.translation)
        covariance = basis.T @ estimate.covariance[:3, :3] @ basis / length**2
        found.append(_along_axes(basis.T @ error, covariance, "translation"))
    return _stacked(found, 2)


def rotation_consistency(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> Consistency:
    """Return the NEES of ``rotation_errors``."""
    return rotation_errors(estimates, references).consistency()


def direction_consistency(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> Consistency:
    """Return the NEES of ``direction_errors``."""
    return direction_errors(estimates, references).consistency()


def tangent_error(estimate: Array, reference: Array) -> Array:
    """Return the logarithm map on the unit sphere, from estimate to reference: tangent (3,), radians."""
    unit, target = estimate / np.linalg.norm(estimate), reference / np.linalg.norm(reference)
    across = target - (unit @ target) * unit
    sine = float(np.linalg.norm(across))
    if sine < 1e-12:
        # Opposite directions: any tangent vector of length pi is a solution.
        return tangent_basis(unit)[:, 0] * np.pi if unit @ target < 0.0 else np.zeros(3)
    return across / sine * np.arctan2(sine, unit @ target)


def _along_axes(error: Array, covariance: Array, part: str) -> tuple[Array, Array]:
    """Return an error (d,) along the principal axes of its covariance (d, d), and the variances (d,)."""
    variances, axes = np.linalg.eigh(covariance)
    if not variances[0] > 0.0:
        raise DataError(f"covariance of the {part} is not positive definite: {covariance.tolist()}")
    return axes.T @ error, variances


def _stacked(found: Sequence[tuple[Array, Array]], dof: int) -> NormalErrors:
    components = np.array([components for components, _ in found]).reshape(-1, dof)
    return NormalErrors(components, np.array([variances for _, variances in found]).reshape(-1, dof))

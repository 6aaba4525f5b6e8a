"""Whether published covariances tell the truth: NEES and coverage of relative poses. No I/O.

A single camera measures no length, so rotation (3 degrees of freedom) and direction of translation (2, in the
tangent plane of the unit sphere) are judged each by itself.
Source: Bar-Shalom, Li, Kirubarajan, "Estimation with applications to tracking and navigation", section 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.directions import NO_MOTION, tangent_basis
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array

SIGMAS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Consistency:
    """Normalised estimation errors squared, e^T Sigma^-1 e, of N errors with ``dof`` components each.

    If the covariances are true the values follow a chi-square distribution with ``dof`` degrees of freedom:
    their mean is ``dof``, more where the estimator is too sure of itself.

    Attributes:
        nees: (N,).
        dof: degrees of freedom of one error.
    """

    nees: Array
    dof: int

    @property
    def mean(self) -> float:
        """Mean NEES; NaN without errors."""
        return float(self.nees.mean()) if len(self.nees) else float("nan")

    @property
    def expected_interval(self) -> tuple[float, float]:
        """Bounds between which the mean lies with 95 % probability if the covariances are true."""
        count = len(self.nees)
        if count == 0:
            return float("nan"), float("nan")
        low, high = chi2.ppf([0.025, 0.975], count * self.dof) / count
        return float(low), float(high)

    @property
    def coverage(self) -> dict[int, float]:
        """Share of the errors inside the k-sigma region, k = 1, 2, 3; NaN without errors.

        The k-sigma region of any number of dimensions is here the ellipsoid that holds as much probability as
        k sigma of one dimension: true covariances give 0.683, 0.954 and 0.997 whatever ``dof`` is.
        """
        if len(self.nees) == 0:
            return dict.fromkeys(SIGMAS, float("nan"))
        return {k: float(np.mean(self.nees <= chi2.ppf(nominal_coverage(k), self.dof))) for k in SIGMAS}


@dataclass(frozen=True, eq=False)
class NormalErrors:
    """N errors along the principal axes of their covariances.

    Attributes:
        components: (N, d), radians.
        variances: (N, d), positive, radians^2.
    """

    components: Array
    variances: Array

    def __len__(self) -> int:
        return len(self.components)

    def consistency(self, factor: float = 1.0, floor: float = 0.0) -> Consistency:
        """Normalised errors, deviations multiplied by a factor and a floor added to them in quadrature."""
        variances = factor**2 * self.variances + floor**2
        return Consistency((self.components**2 / variances).sum(axis=1), self.components.shape[1])


def nominal_coverage(sigmas: float) -> float:
    """Probability that a normal variable lies within ``sigmas`` standard deviations: 0.683 for 1."""
    return float(2.0 * norm.cdf(sigmas) - 1.0)


def rotation_errors(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> NormalErrors:
    """Errors of the rotations of relative poses ``T_prev_curr``, both in the previous frame.

    Raises:
        DataError: a covariance is not positive definite.
    """
    found = []
    for estimate, reference in zip(estimates, references, strict=True):
        error = so3.log(reference.rotation @ estimate.pose.rotation.T)
        found.append(_along_axes(error, estimate.covariance[3:, 3:], "rotation"))
    return _listed(found, 3)


def direction_errors(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> NormalErrors:
    """Errors of the directions of translation of relative poses ``T_prev_curr``; any length, metric or not.

    The error is the true direction in the tangent plane at the estimated one (logarithm of the sphere), the
    covariance that of the translation projected there and divided by the squared length. Pairs in which the
    estimate or the truth does not move have no direction and are left out.

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
    return _listed(found, 2)


def rotation_consistency(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> Consistency:
    """NEES of ``rotation_errors``."""
    return rotation_errors(estimates, references).consistency()


def direction_consistency(estimates: Sequence[PoseWithCovariance], references: Sequence[Pose]) -> Consistency:
    """NEES of ``direction_errors``."""
    return direction_errors(estimates, references).consistency()


def tangent_error(estimate: Array, reference: Array) -> Array:
    """Tangent vector (3,), radians, at the direction of ``estimate`` that leads to that of ``reference``."""
    unit, target = estimate / np.linalg.norm(estimate), reference / np.linalg.norm(reference)
    across = target - (unit @ target) * unit
    sine = float(np.linalg.norm(across))
    if sine < 1e-12:
        # Opposite directions: every tangent vector of length pi leads there.
        return tangent_basis(unit)[:, 0] * np.pi if unit @ target < 0.0 else np.zeros(3)
    return across / sine * np.arctan2(sine, unit @ target)


def _along_axes(error: Array, covariance: Array, part: str) -> tuple[Array, Array]:
    """Components (d,) of an error along the axes of its covariance (d, d), and the variances (d,) there."""
    variances, axes = np.linalg.eigh(covariance)
    if not variances[0] > 0.0:
        raise DataError(f"covariance of the {part} is not positive definite: {covariance.tolist()}")
    return axes.T @ error, variances


def _listed(found: Sequence[tuple[Array, Array]], dof: int) -> NormalErrors:
    components = np.array([components for components, _ in found]).reshape(-1, dof)
    return NormalErrors(components, np.array([variances for _, variances in found]).reshape(-1, dof))

"""Fusion of two estimates of a relative pose of unit translation from the same images.

Errors have 5 parameters: the rotation about the previous camera's axes and the translation direction in its
tangent plane (``unit_relative_pose``). The covariance of the second estimate is transported to the tangent
plane of the first along the great circle between both directions.
Source: Julier and Uhlmann, "A non-divergent estimation algorithm in the presence of unknown correlations",
1997.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from iup_pose_ros.estimators.epipolar.residuals import tangent_basis
from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import RelativePose

_PARAMETERS = 5
_CONSISTENT = float(chi2.ppf(0.999, _PARAMETERS))


@dataclass(frozen=True, eq=False)
class PoseDifference:
    """Difference of two pose estimates, in the tangent space of the first.

    Attributes:
        first: first pose.
        basis: (3, 2) orthonormal tangent basis at its translation.
        step: (5,) difference from the first to the second pose, radians.
        covariance_first, covariance_second: (5, 5) covariances of both estimates, radians^2.
    """

    first: Pose
    basis: Array
    step: Array
    covariance_first: Array
    covariance_second: Array

    @classmethod
    def between(cls, first: RelativePose, second: RelativePose) -> PoseDifference:
        """Compute the difference of two poses of unit translation."""
        direction = first.T_prev_curr.translation
        other = second.T_prev_curr.translation
        basis = tangent_basis(direction)
        # The rotation along the great circle from one direction to the other; any one if they are opposite.
        across = np.cross(direction, other)
        sine, cosine = float(np.linalg.norm(across)), float(direction @ other)
        axis = across / sine if sine > 1e-9 else basis[:, 0]
        turn = axis * np.arctan2(sine, cosine)
        rotation = so3.log(second.T_prev_curr.rotation @ first.T_prev_curr.rotation.T)
        return cls(
            first.T_prev_curr,
            basis,
            np.concatenate([rotation, basis.T @ np.cross(turn, direction)]),
            _tangent_covariance(first, basis),
            _tangent_covariance(second, so3.exp(turn) @ basis),
        )

    @property
    def consistent(self) -> bool:
        """Return whether both may be estimates of the same pose: chi-square test at a level of 0.1 %."""
        both = self.covariance_first + self.covariance_second
        return float(self.step @ np.linalg.solve(both, self.step)) < _CONSISTENT

    def fused(self, source: str) -> RelativePose:
        """Fuse both by covariance intersection, which is consistent for any correlation of the errors."""
        first, second = np.linalg.inv(self.covariance_first), np.linalg.inv(self.covariance_second)

        def negative_information(share: float) -> float:
            return -float(np.linalg.slogdet(share * first + (1.0 - share) * second)[1])

        share = float(minimize_scalar(negative_information, bounds=(0.0, 1.0), method="bounded").x)
        covariance = np.linalg.inv(share * first + (1.0 - share) * second)
        step = covariance @ ((1.0 - share) * second @ self.step)
        direction = self.first.translation
        transport = so3.exp(np.cross(direction, self.basis @ step[3:]))
        T_prev_curr = Pose(so3.project_to_so3(so3.exp(step[:3]) @ self.first.rotation), transport @ direction)
        return unit_relative_pose(T_prev_curr, transport @ self.basis, symmetrised(covariance), source)

    def with_mixture_covariance(self, source: str) -> RelativePose:
        """Return the first pose with the covariance of the mixture of both, with equal probabilities."""
        mixture = 0.5 * (self.covariance_first + self.covariance_second + np.outer(self.step, self.step))
        return unit_relative_pose(self.first, self.basis, symmetrised(mixture), source)


def _tangent_covariance(pose: RelativePose, basis: Array) -> Array:
    """Return the covariance (5, 5) of rotation and direction along a tangent basis (3, 2)."""
    reduce = np.zeros((_PARAMETERS, 6))
    reduce[:3, 3:] = np.eye(3)
    reduce[3:, :3] = basis.T
    return reduce @ pose.covariance @ reduce.T

"""Two estimates of one relative pose of unit translation, from the same images, joined into one.

Errors have 5 parameters: the rotation about the previous camera's axes and the direction of translation in
its tangent plane (``unit_relative_pose``). The second estimate's are carried to the first's direction along
the great circle between both.
Source: Julier and Uhlmann, "A non-divergent estimation algorithm in the presence of unknown correlations",
1997.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from iup_pose_ros.estimators.epipolar.solver import unit_relative_pose
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.pose import Pose, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import RelativePose

_PARAMETERS = 5
_CONSISTENT = float(chi2.ppf(0.999, _PARAMETERS))


@dataclass(frozen=True, eq=False)
class PoseDifference:
    """How the second pose differs from the first.

    Attributes:
        first: the pose at which the difference is taken.
        basis: (3, 2) tangent directions at its translation.
        step: (5,) from the first to the second, radians.
        covariance_first, covariance_second: (5, 5) of both poses' errors.
    """

    first: Pose
    basis: Array
    step: Array
    covariance_first: Array
    covariance_second: Array

    @classmethod
    def between(cls, first: RelativePose, second: RelativePose) -> PoseDifference:
        """The difference of two poses of unit translation."""
        direction = first.T_prev_curr.translation
        other = second.T_prev_curr.translation
        basis = tangent_basis(direction)
        turn = _shortest_turn(direction, other)
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
        """Whether both can be estimates of one pose: all but one in a thousand such pairs are."""
        both = self.covariance_first + self.covariance_second
        return float(self.step @ np.linalg.solve(both, self.step)) < _CONSISTENT

    def fused(self, source: str) -> RelativePose:
        """Both joined by covariance intersection: never too sure, however much their errors are alike."""
        first, second = np.linalg.inv(self.covariance_first), np.linalg.inv(self.covariance_second)

        def negative_information(share: float) -> float:
            return -float(np.linalg.slogdet(share * first + (1.0 - share) * second)[1])

        share = float(minimize_scalar(negative_information, bounds=(0.0, 1.0), method="bounded").x)
        covariance = np.linalg.inv(share * first + (1.0 - share) * second)
        step = covariance @ ((1.0 - share) * second @ self.step)
        direction = self.first.translation
        carried = so3.exp(np.cross(direction, self.basis @ step[3:]))
        T_prev_curr = Pose(so3.project_to_so3(so3.exp(step[:3]) @ self.first.rotation), carried @ direction)
        return unit_relative_pose(T_prev_curr, carried @ self.basis, symmetrised(covariance), source)

    def first_in_doubt(self, source: str) -> RelativePose:
        """The first pose, where either of both can be the true one: with their mixture's second moment."""
        mixture = 0.5 * (self.covariance_first + self.covariance_second + np.outer(self.step, self.step))
        return unit_relative_pose(self.first, self.basis, symmetrised(mixture), source)


def _shortest_turn(direction: Array, other: Array) -> Array:
    """Rotation vector (3,) along the great circle from one unit vector (3,) to another."""
    across = np.cross(direction, other)
    sine, cosine = float(np.linalg.norm(across)), float(direction @ other)
    # Opposite directions are joined by any great circle.
    axis = across / sine if sine > 1e-9 else tangent_basis(direction)[:, 0]
    return np.asarray(axis * np.arctan2(sine, cosine))


def _tangent_covariance(pose: RelativePose, basis: Array) -> Array:
    """(5, 5) of a pose's errors, of the direction along ``basis`` (3, 2)."""
    reduce = np.zeros((_PARAMETERS, 6))
    reduce[:3, 3:] = np.eye(3)
    reduce[3:, :3] = basis.T
    return reduce @ pose.covariance @ reduce.T

"""Poses in SE(3), without and with a 6x6 covariance in the ROS convention.

The order of the covariance is (x, y, z, rotX, rotY, rotZ). Errors are expressed in the parent frame a of
``T_a_b`` (REP-103, fixed axes): ``t_true = t + dt`` and ``R_true = Exp(dphi) R``.
Source: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.geometry.so3 import Array, angle, exp, hat, log, project_to_so3

# A translation shorter than this, in its own unit, has no direction.
NO_MOTION = 1e-9


@dataclass(frozen=True, eq=False)
class Pose:
    """Pose ``T_a_b`` of frame b in frame a: X_a = rotation @ X_b + translation.

    Attributes:
        rotation: (3, 3).
        translation: (3,), in the unit of the context.
    """

    rotation: Array
    translation: Array

    @classmethod
    def identity(cls) -> Pose:
        """Return the identity transform."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(
        cls, quaternion: Sequence[float] | Array, translation: Sequence[float] | Array
    ) -> Pose:
        """Create a pose from a quaternion (x, y, z, w), which is normalised, and a translation (3,)."""
        rotation = Rotation.from_quat(np.asarray(quaternion, dtype=np.float64)).as_matrix()
        return cls(rotation, np.asarray(translation, dtype=np.float64))

    @property
    def matrix(self) -> Array:
        """Return the homogeneous matrix (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    @property
    def quaternion(self) -> Array:
        """Return the unit quaternion (x, y, z, w), w >= 0."""
        return Rotation.from_matrix(self.rotation).as_quat(canonical=True)

    def __matmul__(self, other: Pose) -> Pose:
        """Compose poses: ``T_a_c = T_a_b @ T_b_c``."""
        rotation = project_to_so3(self.rotation @ other.rotation)
        return Pose(rotation, self.rotation @ other.translation + self.translation)

    def inverse(self) -> Pose:
        """Return the inverse ``T_b_a``."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def apply(self, points: Array) -> Array:
        """Transform points (..., 3) from frame b to frame a."""
        return np.asarray(points) @ self.rotation.T + self.translation

    def corrected(self, error: Array) -> Pose:
        """Return the pose of which this one has the error (6,), in the order and frame of its covariance."""
        return Pose(exp(error[3:]) @ self.rotation, self.translation + error[:3])


@dataclass(frozen=True, eq=False)
class PoseWithCovariance:
    """Pose ``T_a_b`` and its covariance (6, 6) in frame a; see the module docstring."""

    pose: Pose
    covariance: Array

    @classmethod
    def exact(cls, pose: Pose) -> PoseWithCovariance:
        """Return a pose with zero covariance."""
        return cls(pose, np.zeros((6, 6)))

    def __matmul__(self, other: PoseWithCovariance) -> PoseWithCovariance:
        """Compose independent ``T_a_b`` and ``T_b_c`` to ``T_a_c``, propagating errors to first order."""
        rotation = self.pose.rotation
        first = np.eye(6)
        first[:3, 3:] = -hat(rotation @ other.pose.translation)
        second = np.zeros((6, 6))
        second[:3, :3] = second[3:, 3:] = rotation
        covariance = first @ self.covariance @ first.T + second @ other.covariance @ second.T
        return PoseWithCovariance(self.pose @ other.pose, symmetrised(covariance))

    def inverse(self) -> PoseWithCovariance:
        """Return the inverse ``T_b_a`` with its covariance in frame b, propagated to first order."""
        rotation = self.pose.rotation.T
        jacobian = np.zeros((6, 6))
        jacobian[:3, :3] = jacobian[3:, 3:] = -rotation
        jacobian[:3, 3:] = -rotation @ hat(self.pose.translation)
        return PoseWithCovariance(self.pose.inverse(), symmetrised(jacobian @ self.covariance @ jacobian.T))

    def change_of_frame(self, extrinsics: Pose) -> PoseWithCovariance:
        """Convert the motion of the camera to the motion of another frame fixed to the same rigid body.

        Args:
            extrinsics: ``T_base_camera``, where this pose is ``T_camera0_camera1``.

        Returns:
            ``T_base0_base1`` with its covariance in frame base0, including the lever arm.
        """
        exact = PoseWithCovariance.exact
        return exact(extrinsics) @ self @ exact(extrinsics.inverse())


def pose_error(true: Pose, estimate: Pose) -> Array:
    """Return the error (6,) of an estimate, in the order and frame of its covariance."""
    turn = log(true.rotation @ estimate.rotation.T)
    return np.concatenate([true.translation - estimate.translation, turn])


def angles_between(first: Pose, second: Pose) -> tuple[float, float]:
    """Return the angles, radians, between the rotations and the translations of poses of unit translation."""
    cosine = np.clip(first.translation @ second.translation, -1.0, 1.0)
    return float(angle(first.rotation @ second.rotation.T)), float(np.arccos(cosine))


def symmetrised(covariance: Array) -> Array:
    """Return the symmetric part of a covariance (..., n, n), removing rounding errors."""
    return 0.5 * (covariance + np.swapaxes(covariance, -1, -2))


def tangent_basis(direction: Array) -> Array:
    """Return two orthonormal columns (3, 2) perpendicular to a unit vector (3,)."""
    first = np.cross(direction, np.eye(3)[np.argmin(np.abs(direction))])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first)], axis=1)

"""Poses in SE(3), alone and with a 6x6 covariance in the ROS convention.

The covariance's order is (x, y, z, rotX, rotY, rotZ). Both errors live in the parent frame a of ``T_a_b``
(REP-103, fixed axes): ``t_true = t + dt`` and ``R_true = Exp(dphi) R``.
Source: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics", 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.geometry.so3 import Array, hat, project_to_so3


@dataclass(frozen=True, eq=False)
class Pose:
    """``T_a_b``: maps points of frame b into frame a, X_a = rotation @ X_b + translation."""

    rotation: Array
    translation: Array

    @classmethod
    def identity(cls) -> Pose:
        """The pose that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(
        cls, quaternion: Sequence[float] | Array, translation: Sequence[float] | Array
    ) -> Pose:
        """Pose of a quaternion (x, y, z, w), normalised here, and a translation (3,)."""
        rotation = Rotation.from_quat(np.asarray(quaternion, dtype=np.float64)).as_matrix()
        return cls(rotation, np.asarray(translation, dtype=np.float64))

    @property
    def matrix(self) -> Array:
        """Homogeneous matrix (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    @property
    def quaternion(self) -> Array:
        """Unit quaternion (x, y, z, w), w >= 0."""
        return Rotation.from_matrix(self.rotation).as_quat(canonical=True)

    def __matmul__(self, other: Pose) -> Pose:
        """``T_a_c = T_a_b @ T_b_c``."""
        rotation = project_to_so3(self.rotation @ other.rotation)
        return Pose(rotation, self.rotation @ other.translation + self.translation)

    def inverse(self) -> Pose:
        """``T_b_a``."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)

    def apply(self, points: Array) -> Array:
        """Points (..., 3) of frame b in frame a."""
        return np.asarray(points) @ self.rotation.T + self.translation


@dataclass(frozen=True, eq=False)
class PoseWithCovariance:
    """A pose ``T_a_b`` and its 6x6 covariance in frame a (module docstring)."""

    pose: Pose
    covariance: Array

    @classmethod
    def exact(cls, pose: Pose) -> PoseWithCovariance:
        """A pose known without error."""
        return cls(pose, np.zeros((6, 6)))

    def __matmul__(self, other: PoseWithCovariance) -> PoseWithCovariance:
        """``T_a_c`` of independent ``T_a_b`` and ``T_b_c``, to first order in the errors."""
        rotation = self.pose.rotation
        first = np.eye(6)
        first[:3, 3:] = -hat(rotation @ other.pose.translation)
        second = np.zeros((6, 6))
        second[:3, :3] = second[3:, 3:] = rotation
        covariance = first @ self.covariance @ first.T + second @ other.covariance @ second.T
        return PoseWithCovariance(self.pose @ other.pose, symmetrised(covariance))

    def inverse(self) -> PoseWithCovariance:
        """``T_b_a``, its covariance in frame b."""
        rotation = self.pose.rotation.T
        jacobian = np.zeros((6, 6))
        jacobian[:3, :3] = jacobian[3:, 3:] = -rotation
        jacobian[:3, 3:] = -rotation @ hat(self.pose.translation)
        return PoseWithCovariance(self.pose.inverse(), symmetrised(jacobian @ self.covariance @ jacobian.T))

    def change_of_frame(self, mount: Pose) -> PoseWithCovariance:
        """The motion of another frame fixed to the same body.

        With this pose as ``T_camera0_camera1`` and the mount as ``T_base_camera`` the result is
        ``T_base0_base1``, its covariance in frame base0 (lever arm included).
        """
        exact = PoseWithCovariance.exact
        return exact(mount) @ self @ exact(mount.inverse())


def symmetrised(covariance: Array) -> Array:
    """The symmetric part of covariance (..., n, n); rounding alone makes the rest."""
    return 0.5 * (covariance + np.swapaxes(covariance, -1, -2))

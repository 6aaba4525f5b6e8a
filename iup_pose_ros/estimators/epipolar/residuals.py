"""Epipolar errors of matches under a relative pose, and how they change with pose, pixels and intrinsics.

With T_prev_curr = (R, d), |d| = 1, and the rays a = x and b = R x' of a match in the previous camera's axes,
the epipolar error is d . n, where n = b x a is the normal of the epipolar plane. The Sampson error is d . n
over the length of its gradient by the four pixel coordinates; where the noise is small it has the standard
deviation of one of these.
Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, sections 9.6 and 11.4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.directions import tangent_basis
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array, hat
from iup_pose_ros.types import Frame, Matches

_TINY = 1e-12
_REFERENCE_SIZE = 640.0
# Where the rays are this near to parallel, in standard deviations, noise decides on which side they meet.
_NO_PARALLAX = 4.0


@dataclass(frozen=True)
class CameraPair:
    """Intrinsics of the previous and the current image; ``one_camera``: the same camera took both."""

    previous: Intrinsics
    current: Intrinsics
    one_camera: bool

    @classmethod
    def of(cls, previous: Frame, current: Frame) -> CameraPair:
        """The cameras of two frames; the same ``frame_id`` says that one camera took both."""
        return cls(previous.intrinsics, current.intrinsics, previous.frame_id == current.frame_id)

    def pixels(self, length: float) -> float:
        """A length in pixels of an image whose longer side has 640, in pixels of these."""
        sizes = [max(camera.width, camera.height) for camera in (self.previous, self.current)]
        return length * 0.5 * sum(sizes) / _REFERENCE_SIZE


@dataclass(frozen=True, eq=False)
class EpipolarErrors:
    """Errors of N matches under the pose ``T_prev_curr`` with translation of unit length.

    Derivatives by the pose have 5 columns: rotation about the previous camera's axes, then the direction of
    translation along the two columns of ``basis``.
    """

    T_prev_curr: Pose
    matches: Matches
    cameras: CameraPair

    @cached_property
    def basis(self) -> Array:
        """Two tangent directions (3, 2) at the direction of translation."""
        return tangent_basis(self.T_prev_curr.translation)

    @cached_property
    def rays_previous(self) -> Array:
        """(N, 3) rays of the points in the previous image, z = 1."""
        return self.cameras.previous.rays(self.matches.points_prev)

    @cached_property
    def rays_current(self) -> Array:
        """(N, 3) rays of the points in the current image, turned into the previous camera's axes."""
        return self.cameras.current.rays(self.matches.points_curr) @ self.T_prev_curr.rotation.T

    @cached_property
    def normals(self) -> Array:
        """(N, 3) normals of the epipolar planes; near zero without parallax."""
        return np.cross(self.rays_current, self.rays_previous)

    @cached_property
    def _ray_gradients(self) -> tuple[Array, Array]:
        """Gradients (N, 3) of d . n by the previous ray, and by the current ray in its own camera's axes."""
        translation = self.T_prev_curr.translation
        by_previous = np.cross(translation, self.rays_current)
        by_current = np.cross(self.rays_previous, translation) @ self.T_prev_curr.rotation
        return by_previous, by_current

    @cached_property
    def _gradient_norms(self) -> Array:
        by_previous, by_current = self._ray_gradients
        pixels = np.hstack(
            [by_previous @ _pixel(self.cameras.previous), by_current @ _pixel(self.cameras.current)]
        )
        return np.linalg.norm(pixels, axis=1) + _TINY

    @cached_property
    def residuals(self) -> Array:
        """(N,) Sampson errors, signed, pixels."""
        return self.normals @ self.T_prev_curr.translation / self._gradient_norms

    @cached_property
    def jacobian(self) -> Array:
        """(N, 5) derivatives of the residuals by the pose, pixels per radian."""
        moment = np.cross(self.rays_previous, self.T_prev_curr.translation)
        by_rotation = np.cross(self.rays_current, moment)
        by_direction = self.normals @ self.basis
        return np.hstack([by_rotation, by_direction]) / self._gradient_norms[:, None]

    @cached_property
    def direction_noise(self) -> Array:
        """(N, 2, 2) covariance of the jacobian's direction columns per squared pixel of noise."""
        rotation = self.T_prev_curr.rotation
        by_previous = self.basis.T @ hat(self.rays_current) @ _pixel(self.cameras.previous)
        by_current = self.basis.T @ hat(self.rays_previous) @ rotation @ _pixel(self.cameras.current)
        both = np.concatenate([by_previous, by_current], axis=2) / self._gradient_norms[:, None, None]
        return both @ np.swapaxes(both, 1, 2)

    def intrinsics_jacobian(self) -> Array:
        """(N, 4) or, for two cameras, (N, 8) derivatives of the residuals by errors of the intrinsics.

        Per camera: relative error of the focal lengths, error of the principal point's two coordinates, and
        radial distortion that is left, in pixels at the corners; the last three relative to the longer side.
        """
        by_previous, by_current = self._ray_gradients
        cameras, points = self.cameras, self.matches
        previous = _ray_errors(cameras.previous, cameras.previous.rays(points.points_prev), by_previous)
        current = _ray_errors(cameras.current, cameras.current.rays(points.points_curr), by_current)
        both = previous + current if cameras.one_camera else np.hstack([previous, current])
        return both / self._gradient_norms[:, None]

    def misfit(self, threshold: float) -> float:
        """Sum over the matches of squared residuals in units of ``threshold`` (pixels), each 1 at most.

        Matches behind a camera count 1. Source: Torr and Zisserman, "MLESAC", 2000 (MSAC's cost).
        """
        squares = np.minimum((self.residuals / threshold) ** 2, 1.0)
        return float(np.where(self.in_front(threshold), squares, 1.0).sum())

    def in_front(self, noise: float) -> NDArray[np.bool_]:
        """(N,) whether the rays meet in front of both cameras, or are too near to parallel to tell.

        Args:
            noise: standard deviation of a pixel coordinate.
        """
        translation = self.T_prev_curr.translation
        meets_previous = np.sum(np.cross(self.rays_current, translation) * self.normals, axis=1) > 0.0
        meets_current = np.sum(np.cross(self.rays_previous, translation) * self.normals, axis=1) > 0.0
        lengths = np.linalg.norm(self.rays_previous, axis=1) * np.linalg.norm(self.rays_current, axis=1)
        focal = 0.5 * (self.cameras.previous.fx + self.cameras.current.fx)
        parallax = focal * np.linalg.norm(self.normals, axis=1) / lengths
        return (meets_previous & meets_current) | (parallax < _NO_PARALLAX * noise)


def _pixel(intrinsics: Intrinsics) -> Array:
    """(3, 2) change of a ray per pixel."""
    return np.array([[1.0 / intrinsics.fx, 0.0], [0.0, 1.0 / intrinsics.fy], [0.0, 0.0]])


def _ray_errors(intrinsics: Intrinsics, rays: Array, gradient: Array) -> Array:
    """(N, 4) change of the epipolar error by the errors of one camera's intrinsics (intrinsics_jacobian)."""
    longer_side = max(intrinsics.width, intrinsics.height)
    half_diagonal = 0.5 * float(np.hypot(intrinsics.width, intrinsics.height))
    pixel = _pixel(intrinsics)
    offsets = rays * (1.0, 1.0, 0.0)
    centred = offsets[:, :2] * (intrinsics.fx, intrinsics.fy) / half_diagonal
    radial = np.sum(centred**2, axis=1) * np.sum(gradient[:, :2] * pixel.diagonal() * centred, axis=1)
    by_principal_point = -longer_side * gradient @ pixel
    by_focal = -np.sum(gradient * offsets, axis=1)
    return np.column_stack([by_focal, by_principal_point, longer_side * radial])

"""Sampson errors of matches under a relative pose, and their derivatives by pose and intrinsics.

With T_prev_curr = (R, d), |d| = 1, and the rays a = x and b = R x' of a match in the previous camera's axes,
the epipolar error is d . n, where n = b x a is the normal of the epipolar plane. The Sampson error is d . n
divided by the norm of its gradient by the four pixel coordinates; for small noise, it has the standard
deviation of a pixel coordinate.
Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, sections 9.6 and 11.4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, tangent_basis
from iup_pose_ros.geometry.so3 import Array, hat
from iup_pose_ros.types import Frame, Matches

_TINY = 1e-12
_REFERENCE_SIZE = 640.0
# A match stays in place if it moves by less than this in the image, pixels at 640.
_IN_PLACE = 0.5
# Below this parallax, in standard deviations of the noise, the sign of the depth cannot be determined.
_MIN_PARALLAX = 4.0


@dataclass(frozen=True)
class CameraPair:
    """Intrinsics of the previous and the current image.

    Attributes:
        previous, current: pinhole intrinsics.
        one_camera: whether both images are from the same camera, and have the same calibration errors.
    """

    previous: Intrinsics
    current: Intrinsics
    one_camera: bool

    @classmethod
    def of(cls, previous: Frame, current: Frame) -> CameraPair:
        """Return the intrinsics of two frames; equal ``frame_id`` means the same camera."""
        return cls(previous.intrinsics, current.intrinsics, previous.frame_id == current.frame_id)

    def pixels(self, length: float) -> float:
        """Convert a length in pixels of an image with a longer side of 640 to pixels of these images."""
        sizes = [max(camera.width, camera.height) for camera in (self.previous, self.current)]
        return length * 0.5 * sum(sizes) / _REFERENCE_SIZE

    def in_place(self, matches: Matches) -> NDArray[np.bool_]:
        """Return which of N matches stay in place in the image; none between two cameras."""
        motion = np.linalg.norm(matches.points_curr - matches.points_prev, axis=1)
        return (motion < self.pixels(_IN_PLACE)) & self.one_camera


@dataclass(frozen=True, eq=False)
class EpipolarErrors:
    """Sampson errors of N matches under a pose with unit translation.

    Derivatives by the pose have 5 columns: rotation about the previous camera's axes, then translation
    direction along the two columns of ``basis``.

    Attributes:
        T_prev_curr: pose with unit translation.
        matches: N matches, pixels.
        cameras: intrinsics of both images.
    """

    T_prev_curr: Pose
    matches: Matches
    cameras: CameraPair

    @cached_property
    def basis(self) -> Array:
        """Return an orthonormal tangent basis (3, 2) at the translation direction."""
        return tangent_basis(self.T_prev_curr.translation)

    @cached_property
    def rays_previous(self) -> Array:
        """Return the rays (N, 3) of the points in the previous image, z = 1."""
        return self.cameras.previous.rays(self.matches.points_prev)

    @cached_property
    def rays_current(self) -> Array:
        """Return the rays (N, 3) of the points in the current image, in the previous camera's axes."""
        return self.cameras.current.rays(self.matches.points_curr) @ self.T_prev_curr.rotation.T

    @cached_property
    def normals(self) -> Array:
        """Return the normals (N, 3) of the epipolar planes, which are close to zero without parallax."""
        return np.cross(self.rays_current, self.rays_previous)

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        """Return the cross products (N, 3) of previous and current rays with the translation."""
        cross_translation = hat(self.T_prev_curr.translation)
        return self.rays_previous @ cross_translation, self.rays_current @ cross_translation

    @cached_property
    def _ray_gradients(self) -> tuple[Array, Array]:
        """Return the gradients (N, 3) of d . n by the previous ray and by the current ray in its own axes."""
        of_previous, of_current = self._moments
        return -of_current, of_previous @ self.T_prev_curr.rotation

    @cached_property
    def _gradient_norms(self) -> Array:
        by_previous, by_current = self._ray_gradients
        pixels = np.hstack(
            [by_previous @ _pixel(self.cameras.previous), by_current @ _pixel(self.cameras.current)]
        )
        return np.linalg.norm(pixels, axis=1) + _TINY

    @cached_property
    def residuals(self) -> Array:
        """Return the signed Sampson errors (N,), pixels."""
        return self.normals @ self.T_prev_curr.translation / self._gradient_norms

    @cached_property
    def jacobian(self) -> Array:
        """Return the derivatives (N, 5) of the residuals by the pose, pixels per radian."""
        by_rotation = np.cross(self.rays_current, self._moments[0])
        by_direction = self.normals @ self.basis
        return np.hstack([by_rotation, by_direction]) / self._gradient_norms[:, None]

    @cached_property
    def direction_noise(self) -> Array:
        """Return the covariance (N, 2, 2) of the jacobian's direction columns per squared pixel of noise."""
        rotation = self.T_prev_curr.rotation
        by_previous = self.basis.T @ hat(self.rays_current) @ _pixel(self.cameras.previous)
        by_current = self.basis.T @ hat(self.rays_previous) @ rotation @ _pixel(self.cameras.current)
        both = np.concatenate([by_previous, by_current], axis=2) / self._gradient_norms[:, None, None]
        return both @ np.swapaxes(both, 1, 2)

    def intrinsics_jacobian(self) -> Array:
        """Return the derivatives (N, 4), or (N, 8) for two cameras, of the residuals by the intrinsics.

        Columns per camera: relative error of the focal lengths; error of both coordinates of the principal
        point and residual radial distortion at the image corners, relative to the longer image side.
        """
        by_previous, by_current = self._ray_gradients
        cameras, points = self.cameras, self.matches
        previous = _ray_errors(cameras.previous, cameras.previous.rays(points.points_prev), by_previous)
        current = _ray_errors(cameras.current, cameras.current.rays(points.points_curr), by_current)
        both = previous + current if cameras.one_camera else np.hstack([previous, current])
        return both / self._gradient_norms[:, None]

    def row_shift_jacobian(self) -> Array:
        """Return the derivatives (N,) of the residuals by a sideways shift of the rows of both images.

        The shift grows from row to row, as in images of a rolling shutter that turns, and is opposite in the
        two images. The unit is the image width, for the last row of both images relative to the first one.
        """
        previous, current = self.cameras.previous, self.cameras.current
        by_previous, by_current = self._ray_gradients
        shifts = _row_shifts(current, self.matches.points_curr) * by_current[:, 0]
        shifts = shifts - _row_shifts(previous, self.matches.points_prev) * by_previous[:, 0]
        return 0.5 * shifts / self._gradient_norms

    def inliers(self, threshold: float, noise: float) -> NDArray[np.bool_]:
        """Return which of the N matches are inliers: small residual, rays that intersect in front.

        PoseLib's inliers exclude matches whose rays diverge due to noise: half of them in a pure rotation.

        Args:
            threshold: maximum absolute residual, pixels.
            noise: standard deviation of a pixel coordinate, pixels; see ``in_front``.
        """
        return (np.abs(self.residuals) < threshold) & self.in_front(noise)

    def in_front(self, noise: float) -> NDArray[np.bool_]:
        """Return whether (N,) rays intersect in front of both cameras, or have too little parallax to decide.

        Args:
            noise: standard deviation of a pixel coordinate, pixels.
        """
        of_previous, of_current = self._moments
        meets_previous = np.sum(of_current * self.normals, axis=1) > 0.0
        meets_current = np.sum(of_previous * self.normals, axis=1) > 0.0
        lengths = np.linalg.norm(self.rays_previous, axis=1) * np.linalg.norm(self.rays_current, axis=1)
        focal = 0.5 * (self.cameras.previous.fx + self.cameras.current.fx)
        parallax = focal * np.linalg.norm(self.normals, axis=1) / lengths
        return (meets_previous & meets_current) | (parallax < _MIN_PARALLAX * noise)


def _pixel(intrinsics: Intrinsics) -> Array:
    """Return the derivative (3, 2) of a ray by the pixel."""
    return np.array([[1.0 / intrinsics.fx, 0.0], [0.0, 1.0 / intrinsics.fy], [0.0, 0.0]])


def _row_shifts(intrinsics: Intrinsics, points: Array) -> Array:
    """Return the x (N,) that is added to the rays of points (N, 2) if rows shift by the image width."""
    return (points[:, 1] / intrinsics.height - 0.5) * intrinsics.width / intrinsics.fx


def _ray_errors(intrinsics: Intrinsics, rays: Array, gradient: Array) -> Array:
    """Return the derivatives (N, 4) of d . n by the intrinsics of one camera; see ``intrinsics_jacobian``."""
    longer_side = max(intrinsics.width, intrinsics.height)
    half_diagonal = 0.5 * float(np.hypot(intrinsics.width, intrinsics.height))
    pixel = _pixel(intrinsics)
    offsets = rays * (1.0, 1.0, 0.0)
    centred = offsets[:, :2] * (intrinsics.fx, intrinsics.fy) / half_diagonal
    radial = np.sum(centred**2, axis=1) * np.sum(gradient[:, :2] * pixel.diagonal() * centred, axis=1)
    by_principal_point = -longer_side * gradient @ pixel
    by_focal = -np.sum(gradient * offsets, axis=1)
    return np.column_stack([by_focal, by_principal_point, longer_side * radial])

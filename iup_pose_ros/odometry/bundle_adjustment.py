"""Bundle adjustment of the newest keyframes: their poses and the points of the tracks, estimated together.

The poses of the older keyframes are fixed, which determines the scale. The measurements are the image points,
the steps between the keyframes with their covariances, and the depths that are known in the oldest keyframe,
which hold what earlier images have shown. A point is an image point and an inverse depth in one keyframe, so
that distant points are regular.
Sources: Triggs et al., "Bundle adjustment - a modern synthesis", 2000; Civera, Davison and Montiel, "Inverse
depth parametrization for monocular SLAM", 2008.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, pose_error
from iup_pose_ros.geometry.so3 import Array, hat
from iup_pose_ros.odometry.depths import InverseDepths, robust_weight
from iup_pose_ros.odometry.track_geometry import robust_sigma

FREE = 2  # newest keyframes whose poses are estimated
# The newest fixed keyframe: the points are relative to it, and all of them are seen in it.
ANCHOR = -FREE - 1

# Errors of neighbouring tracks correlate: this many count as one.
_TRACKS_PER_OBSERVATION = 4.0
_MIN_DEPTH_RATIO = 0.05  # minimum depth in a keyframe relative to that in the anchor
_REGULAR = 1e-12  # keeps the system of a point without parallax regular
_INLIER = 3.5  # standard deviations


@dataclass(frozen=True, eq=False)
class Bundle:
    """Poses of K keyframes and N points with their measurements; immutable.

    Attributes:
        poses: T_anchor_camera of the K keyframes, oldest first.
        points: (N, 3) image point, z = 1, and inverse depth in the anchor.
        observed: (K, N, 2) image points, z = 1.
        seen: (K, N) whether a point was observed.
        steps: measured steps to the free keyframes.
        depths: known inverse depths of the points in the oldest keyframe.
        noise: standard deviation of the image points.
    """

    poses: list[Pose]
    points: Array
    observed: Array
    seen: NDArray[np.bool_]
    steps: list[PoseWithCovariance]
    depths: InverseDepths
    noise: float

    @classmethod
    def start(
        cls,
        poses: list[Pose],
        observed: Array,
        seen: NDArray[np.bool_],
        steps: list[PoseWithCovariance],
        depths: InverseDepths,
        floor: float,
    ) -> Bundle:
        """Return the bundle with points from the first poses; the noise is at least ``floor``."""
        points = _triangulated(poses, observed, seen)
        bundle = cls(poses, points, observed, seen, steps, depths, floor)
        residual, _, _, visible = bundle.linearised()
        return replace(bundle, noise=robust_sigma(residual[visible].ravel(), floor))

    @property
    def last_step(self) -> Pose:
        """T_prev_curr of the newest keyframe."""
        return self.poses[-2].inverse() @ self.poses[-1]

    def linearised(self) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Return measured minus predicted image points and the derivatives of the predicted ones.

        Returns:
            residuals (K, N, 2), derivatives by the free poses' errors (F, N, 2, 6), ROS convention, and by
            the points (K, N, 2, 3), and whether each point is seen in front of the camera (K, N).
        """
        rotations = np.stack([pose.rotation for pose in self.poses])
        translations = np.stack([pose.translation for pose in self.poses])[:, None]
        inverse = self.points[:, 2:]
        moved = _rays(self.points) - inverse * translations
        point = moved @ rotations
        visible = self.seen & (point[..., 2] > _MIN_DEPTH_RATIO)
        depth = np.where(visible, point[..., 2], 1.0)[..., None]
        predicted = point[..., :2] / depth
        # Derivative of the image point by the point's position in the anchor's axes, (K, N, 2, 3).
        along = rotations[:, None, None, :, 2]
        axes = np.swapaxes(rotations[:, :, :2], 1, 2)[:, None]
        slope = (axes - predicted[..., None] * along) / depth[..., None]
        by_inverse = -np.sum(slope * translations[:, :, None], axis=-1, keepdims=True)
        by_point = np.concatenate([slope[..., :2], by_inverse], axis=-1)
        free = slope[-FREE:]
        by_pose = np.concatenate([-inverse[:, :, None] * free, free @ hat(moved[-FREE:])], axis=-1)
        return self.observed - predicted, by_pose, by_point, visible

    def improved(self) -> Bundle:
        """Return the bundle after a robust Gauss-Newton iteration, in which the points are eliminated.

        Raises:
            numpy.linalg.LinAlgError: there is no finite solution.
        """
        # 1. Image points and known depths by point.
        error, by_point, by_pose = self._image_rows()
        depth_error, depth_by_point = self._depth_rows()
        error = np.concatenate([error, depth_error], axis=1)
        by_point = np.concatenate([by_point, depth_by_point], axis=1)
        by_pose = np.pad(by_pose, ((0, 0), (0, 1), (0, 0)))
        # 2. What a change of the points does not explain, and the steps determine the poses.
        transposed = np.swapaxes(by_point, 1, 2)
        normal = transposed @ by_point
        size = np.maximum(np.trace(normal, axis1=1, axis2=2), 1.0)
        normal += _REGULAR * size[:, None, None] * np.eye(3)
        gain = np.linalg.solve(normal, transposed)
        columns = by_pose.shape[-1]
        remaining = (by_pose - by_point @ (gain @ by_pose)).reshape(-1, columns).T
        step_error, by_steps = self._step_rows()
        system = remaining @ by_pose.reshape(-1, columns) + by_steps.T @ by_steps
        change = np.linalg.solve(system, remaining @ error.ravel() + by_steps.T @ step_error)
        # 3. The points follow.
        points = self.points + (gain @ (error - by_pose @ change)[..., None])[..., 0]
        if not (np.isfinite(change).all() and np.isfinite(points).all()):
            raise np.linalg.LinAlgError("no finite solution")
        moved = map(Pose.corrected, self.poses[-FREE:], np.split(change, FREE))
        return replace(self, poses=[*self.poses[:-FREE], *moved], points=points)

    def inverse_depths(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the inverse depths (N,) in the newest keyframe, and where they agree with all keyframes."""
        residual, _, _, visible = self.linearised()
        agrees = np.sum(residual**2, axis=-1) < (_INLIER * self.noise) ** 2
        is_known = np.all((visible & agrees) | ~self.seen, axis=0)
        inverse, _ = _inverse_depths(self.points, self.poses[-1])
        return inverse, is_known

    def _image_rows(self) -> tuple[Array, Array, Array]:
        """Return errors and derivatives of the image points, divided by their standard deviations.

        Returns:
            errors (N, 2K) and their derivatives by the points (N, 2K, 3) and the free poses (N, 2K, 6F).
        """
        residual, by_pose, by_point, visible = self.linearised()
        square = np.where(visible, np.sum(residual**2, axis=-1) / self.noise**2, np.inf)
        root = np.sqrt(robust_weight(square) / _TRACKS_PER_OBSERVATION)[..., None] / self.noise
        rows, count = len(self.poses), len(self.points)
        by_free = np.zeros((count, rows, 2, 6 * FREE))
        for free in range(FREE):
            row = rows - FREE + free
            by_free[:, row, :, 6 * free : 6 * free + 6] = root[row, :, :, None] * by_pose[free]
        return (
            np.swapaxes(root * residual, 0, 1).reshape(count, -1),
            np.swapaxes(root[..., None] * by_point, 0, 1).reshape(count, -1, 3),
            by_free.reshape(count, 2 * rows, -1),
        )

    def _depth_rows(self) -> tuple[Array, Array]:
        """Return errors (N, 1) of the known depths and derivatives (N, 1, 3) as ``_image_rows`` does."""
        inverse, by_point = _inverse_depths(self.points, self.poses[0])
        error, information = self.depths.inverse - inverse, self.depths.information
        weight = robust_weight(error**2 * information) * information / _TRACKS_PER_OBSERVATION
        root = np.sqrt(weight)[:, None]
        return root * error[:, None], (root * by_point)[:, None]

    def _step_rows(self) -> tuple[Array, Array]:
        """Return errors (6F,) and derivatives (6F, 6F) of the steps, divided by their standard deviations."""
        rows, errors = np.zeros((FREE, 6, 6 * (FREE + 1))), np.zeros((FREE, 6))
        for row, step in enumerate(self.steps):
            previous, current = self.poses[row - FREE - 1], self.poses[row - FREE]
            back, lever = previous.rotation.T, current.translation - previous.translation
            by_previous, by_current = np.zeros((2, 6, 6))
            by_current[:3, :3] = by_current[3:, 3:] = back
            by_previous[:3, :3] = by_previous[3:, 3:] = -back
            by_previous[:3, 3:] = back @ hat(lever)
            deviations = np.linalg.cholesky(step.covariance)
            error = pose_error(step.pose, previous.inverse() @ current)
            both = np.concatenate([by_previous, by_current], axis=1)
            rows[row, :, 6 * row : 6 * row + 12] = np.linalg.solve(deviations, both)
            errors[row] = np.linalg.solve(deviations, error)
        # The keyframe before the free ones is fixed.
        return errors.ravel(), rows.reshape(-1, 6 * (FREE + 1))[:, 6:]


def _rays(points: Array) -> Array:
    """Return the rays (N, 3), z = 1, of points with inverse depths (N, 3)."""
    return np.concatenate([points[:, :2], np.ones((len(points), 1))], axis=1)


def _inverse_depths(points: Array, T_anchor_camera: Pose) -> tuple[Array, Array]:
    """Return the inverse depths (N,) of points (N, 3) in a camera, and their derivatives (N, 3)."""
    axis = T_anchor_camera.rotation[:, 2]
    turned = _rays(points) @ axis
    ratio = np.maximum(turned - points[:, 2] * (T_anchor_camera.translation @ axis), _MIN_DEPTH_RATIO)
    inverse = points[:, 2] / ratio
    across = -(inverse / ratio)[:, None] * axis[:2]
    return inverse, np.column_stack([across, turned / ratio**2])


def _triangulated(poses: list[Pose], observed: Array, seen: NDArray[np.bool_]) -> Array:
    """Return the points (N, 3) of image points (K, N, 2) by linear least squares of their inverse depths."""
    anchored = np.concatenate([observed[ANCHOR], np.ones((observed.shape[1], 1))], axis=1)
    dividend, divisor = np.zeros(len(anchored)), np.full(len(anchored), 1e-16)
    for pose, image, is_seen in zip(poses, observed, seen, strict=True):
        turned, epipole = anchored @ pose.rotation, pose.rotation.T @ pose.translation
        offset = turned[:, :2] - image * turned[:, 2:]
        slope = epipole[:2] - image * epipole[2]
        dividend += is_seen * np.sum(offset * slope, axis=1)
        divisor += is_seen * np.sum(slope**2, axis=1)
    return np.column_stack([anchored[:, :2], dividend / divisor])

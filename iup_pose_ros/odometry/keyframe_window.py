"""Refinement of the newest keyframes by bundle adjustment of the tracks that the last keyframes share.

The poses of the two newest keyframes are estimated together with the points. The older keyframes are fixed,
which determines the scale. The measurements are the image points and the steps with their covariances; where
the tracks determine a pose poorly, it stays that of the steps. A point is an image point and an inverse depth
in one keyframe, so that distant points are regular.
Sources: Triggs et al., "Bundle adjustment - a modern synthesis", 2000; Civera, Davison and Montiel, "Inverse
depth parametrization for monocular SLAM", 2008.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.geometry.so3 import Array, exp, hat, log
from iup_pose_ros.odometry.depths import InverseDepths, robust_weight
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.track_geometry import NOISE_FLOOR, robust_sigma
from iup_pose_ros.odometry.tracks import Tracks

_KEYFRAMES = 5
_FREE = 2  # newest keyframes whose poses are estimated
_MIN_SHARED = 3  # newest keyframes that all points are seen in; the points are relative to the oldest of them
_MIN_POINTS, _MAX_POINTS = 30, 200
_ITERATIONS = 4
# Errors of neighbouring tracks correlate: this many count as one.
_TRACKS_PER_OBSERVATION = 4.0
_MIN_DEPTH_RATIO = 0.05  # minimum depth in a keyframe relative to that in the keyframe of the point
_REGULAR = 1e-12  # keeps the system of a point without parallax regular
_INLIER = 3.5  # standard deviations
# Maximum squared change of the newest step in standard deviations, 99.7 % of six degrees of freedom.
_MAX_CHANGE = 19.8


@dataclass(frozen=True, eq=False)
class _Keyframe:
    """A keyframe of the window.

    Attributes:
        number: keyframe_id of its tracks.
        pose: T_window_camera.
        step: T_previous_camera as measured; None of the first keyframe.
        ids: (N,) ids of its tracks, ascending.
        points: (N, 2) their image points, z = 1.
    """

    number: int
    pose: Pose
    step: PoseWithCovariance | None
    ids: NDArray[np.int64]
    points: Array

    @classmethod
    def of(cls, tracks: Tracks, pose: Pose, step: PoseWithCovariance | None) -> _Keyframe:
        """Return the keyframe in which these tracks start."""
        return cls(tracks.keyframe_id, pose, step, tracks.ids, tracks.rays.previous[:, :2])

    def scaled(self, factor: float) -> _Keyframe:
        """Return the same keyframe in a unit of length that is shorter by ``factor``."""
        if factor == 1.0:
            return self
        pose, step = Pose(self.pose.rotation, factor * self.pose.translation), self.step
        if step is not None:
            units = np.repeat([factor, 1.0], 3)
            motion = Pose(step.pose.rotation, factor * step.pose.translation)
            step = PoseWithCovariance(motion, units[:, None] * step.covariance * units)
        return replace(self, pose=pose, step=step)

    def seen(self, ids: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image points (M, 2) of tracks ``ids`` (M,) and which of them are seen."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.points[rows], self.ids[rows] == ids


@dataclass(frozen=True, eq=False)
class Refinement:
    """A refined step.

    Attributes:
        motion: T_prev_curr; its covariance is that of the measured step.
        ids: (N,) ids of the tracks whose depths are refined, ascending.
        inverse: (N,) their inverse depths in the current keyframe.
    """

    motion: PoseWithCovariance
    ids: NDArray[np.int64]
    inverse: Array


class KeyframeWindow:
    """The last consecutive keyframes; see the module docstring."""

    def __init__(self) -> None:
        self._keyframes: list[_Keyframe] = []

    def clear(self) -> None:
        """Forget all keyframes."""
        self._keyframes = []

    def add(self, step: ScaledStep, previous: Tracks, current: Tracks) -> Refinement:
        """Add a keyframe and return its refined step, or the step itself where there is nothing to refine.

        Args:
            step: the measured step between the two keyframes.
            previous: tracks from the previous keyframe. If it is not the last one added, the window starts
                anew.
            current: tracks that start in the new keyframe.
        """
        if not self._keyframes or self._keyframes[-1].number != previous.keyframe_id:
            self._keyframes = [_Keyframe.of(previous, Pose.identity(), None)]
        last = [keyframe.scaled(step.unit) for keyframe in self._keyframes[1 - _KEYFRAMES :]]
        camera = step.camera
        self._keyframes = [*last, _Keyframe.of(current, last[-1].pose @ camera.pose, camera)]
        unchanged = Refinement(camera, np.zeros(0, dtype=np.int64), np.zeros(0))
        if len(self._keyframes) < _MIN_SHARED:
            return unchanged
        shared = np.intersect1d(current.ids, self._keyframes[-_MIN_SHARED].ids, assume_unique=True)
        ids = shared[:_MAX_POINTS]  # the oldest tracks
        if len(ids) < _MIN_POINTS:
            return unchanged
        floor = NOISE_FLOOR * current.rays.width / current.rays.focal
        bundle = _Bundle.of(self._keyframes, ids, floor)
        for _ in range(_ITERATIONS):
            bundle = bundle.improved()
        motion = bundle.poses[-2].inverse() @ bundle.poses[-1]
        if not _is_within(motion, camera):
            return unchanged
        origin = self._keyframes[-_MIN_SHARED].pose
        poses = [origin @ pose for pose in bundle.poses[-_FREE:]]
        kept = self._keyframes[:-_FREE]
        moved = self._keyframes[-_FREE:]
        self._keyframes = kept + [replace(k, pose=pose) for k, pose in zip(moved, poses, strict=True)]
        inverse, is_known = bundle.inverse_depths()
        return Refinement(PoseWithCovariance(motion, camera.covariance), ids[is_known], inverse[is_known])


def _is_within(motion: Pose, step: PoseWithCovariance) -> bool:
    """Return whether a motion agrees with a step within its covariance; False if it is not finite."""
    error = _difference(motion, step.pose)
    return bool(error @ np.linalg.solve(step.covariance, error) <= _MAX_CHANGE)


def _difference(first: Pose, second: Pose) -> Array:
    """Return the error (6,) of the second pose if the first one is true, ROS convention."""
    turn = log(first.rotation @ second.rotation.T)
    return np.concatenate([first.translation - second.translation, turn])


@dataclass(frozen=True, eq=False)
class _Bundle:
    """Poses of K keyframes and N points with their measurements.

    Attributes:
        poses: T_anchor_camera of the K keyframes; the anchor is the keyframe ``-_MIN_SHARED``.
        points: (N, 3) image point, z = 1, and inverse depth in the anchor.
        observed: (K, N, 2) image points.
        seen: (K, N) whether a point was observed.
        steps: measured steps to the free keyframes.
        noise: standard deviation of the image points.
    """

    poses: list[Pose]
    points: Array
    observed: Array
    seen: NDArray[np.bool_]
    steps: list[PoseWithCovariance]
    noise: float

    @classmethod
    def of(cls, keyframes: list[_Keyframe], ids: NDArray[np.int64], floor: float) -> _Bundle:
        """Return the poses of keyframes with the tracks ``ids`` (N,), whose noise is at least ``floor``."""
        to_anchor = keyframes[-_MIN_SHARED].pose.inverse()
        poses = [to_anchor @ keyframe.pose for keyframe in keyframes]
        observed, seen = map(np.stack, zip(*(keyframe.seen(ids) for keyframe in keyframes), strict=True))
        steps = [keyframe.step for keyframe in keyframes[-_FREE:] if keyframe.step is not None]
        points = _triangulated(poses, observed, seen)
        bundle = cls(poses, points, observed, seen, steps, floor)
        residual, _, _, visible = bundle.linearised()
        return replace(bundle, noise=robust_sigma(residual[visible].ravel(), floor))

    def linearised(self) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Return measured minus predicted image points and the derivatives of the predicted ones.

        Returns:
            residuals (K, N, 2), derivatives by the free poses' errors (F, N, 2, 6), ROS convention, and by the
            points (K, N, 2, 3), and whether each point is seen in front of the camera (K, N).
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
        free = slope[-_FREE:]
        by_pose = np.concatenate([-inverse[:, :, None] * free, free @ hat(moved[-_FREE:])], axis=-1)
        return self.observed - predicted, by_pose, by_point, visible

    def improved(self) -> _Bundle:
        """Return the bundle after a robust Gauss-Newton iteration, in which the points are eliminated."""
        residual, by_pose, by_point, visible = self.linearised()
        # 1. Rows by point, (N, 2K, ...), divided by their standard deviations.
        square = np.where(visible, np.sum(residual**2, axis=-1) / self.noise**2, np.inf)
        root = np.sqrt(robust_weight(square) / _TRACKS_PER_OBSERVATION)[..., None] / self.noise
        count, columns = len(self.points), 6 * _FREE
        error = np.swapaxes(root * residual, 0, 1).reshape(count, -1)
        points = np.swapaxes(root[..., None] * by_point, 0, 1).reshape(count, -1, 3)
        poses = np.zeros((count, len(self.poses), 2, columns))
        for row in range(_FREE):
            poses[:, row - _FREE, :, 6 * row : 6 * row + 6] = root[row - _FREE, :, :, None] * by_pose[row]
        poses = poses.reshape(count, -1, columns)
        # 2. The rows without the part that a change of the points explains determine the poses.
        transposed = np.swapaxes(points, 1, 2)
        normal = transposed @ points
        normal += _REGULAR * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        gain = np.linalg.solve(normal, transposed)
        remaining = (poses - points @ (gain @ poses)).reshape(-1, columns)
        by_steps, step_error = self._step_rows()
        system = remaining.T @ poses.reshape(-1, columns) + by_steps.T @ by_steps
        change = np.linalg.solve(system, remaining.T @ error.ravel() + by_steps.T @ step_error)
        # 3. The points follow.
        left = (error - poses @ change)[..., None]
        return replace(
            self,
            poses=self.poses[:-_FREE] + _moved(self.poses[-_FREE:], change.reshape(-1, 6)),
            points=self.points + (gain @ left)[..., 0],
        )

    def inverse_depths(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return the inverse depths (N,) in the newest keyframe, and where they agree with all keyframes."""
        residual, _, _, visible = self.linearised()
        agrees = np.sum(residual**2, axis=-1) < (_INLIER * self.noise) ** 2
        newest = self.poses[-1]
        depth = (_rays(self.points) - self.points[:, 2:] * newest.translation) @ newest.rotation[:, 2]
        is_known = np.all((visible & agrees) | ~self.seen, axis=0)
        return self.points[:, 2] / np.where(is_known, depth, 1.0), is_known

    def _step_rows(self) -> tuple[Array, Array]:
        """Return the derivatives (6F, 6F) of the steps by the free poses, and their errors (6F,).

        Both are divided by the standard deviations of the steps.
        """
        rows, errors = np.zeros((_FREE, 6, 6 * (_FREE + 1))), np.zeros((_FREE, 6))
        for row, step in enumerate(self.steps):
            previous, current = self.poses[row - _FREE - 1 : row - _FREE + 1 or None]
            back, lever = previous.rotation.T, current.translation - previous.translation
            by_previous, by_current = np.zeros((2, 6, 6))
            by_current[:3, :3] = by_current[3:, 3:] = back
            by_previous[:3, :3] = by_previous[3:, 3:] = -back
            by_previous[:3, 3:] = back @ hat(lever)
            deviations = np.linalg.cholesky(step.covariance)
            error = _difference(step.pose, previous.inverse() @ current)
            both = np.concatenate([by_previous, by_current], axis=1)
            rows[row, :, 6 * row : 6 * row + 12] = np.linalg.solve(deviations, both)
            errors[row] = np.linalg.solve(deviations, error)
        # The keyframe before the free ones is fixed.
        return rows.reshape(-1, 6 * (_FREE + 1))[:, 6:], errors.ravel()


def _rays(points: Array) -> Array:
    """Return the rays (N, 3), z = 1, of points with inverse depths (N, 3)."""
    return np.concatenate([points[:, :2], np.ones((len(points), 1))], axis=1)


def _triangulated(poses: list[Pose], observed: Array, seen: NDArray[np.bool_]) -> Array:
    """Return the points (N, 3) of image points (K, N, 2) by linear least squares of their inverse depths."""
    anchored = np.concatenate([observed[-_MIN_SHARED], np.ones((observed.shape[1], 1))], axis=1)
    dividend, divisor = np.zeros(len(anchored)), np.full(len(anchored), 1e-16)
    for pose, image, is_seen in zip(poses, observed, seen, strict=True):
        turned, epipole = anchored @ pose.rotation, pose.rotation.T @ pose.translation
        offset = turned[:, :2] - image * turned[:, 2:]
        slope = epipole[:2] - image * epipole[2]
        dividend += is_seen * np.sum(offset * slope, axis=1)
        divisor += is_seen * np.sum(slope**2, axis=1)
    return np.column_stack([anchored[:, :2], dividend / divisor])


def _moved(poses: list[Pose], errors: Array) -> list[Pose]:
    """Return poses corrected by their errors (F, 6), ROS convention."""
    return [
        Pose(exp(error[3:]) @ pose.rotation, pose.translation + error[:3])
        for pose, error in zip(poses, errors, strict=True)
    ]

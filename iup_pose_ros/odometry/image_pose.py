"""Pose of an image between two keyframes, relative to the last keyframe, by resection.

The tracks of the image start in the keyframe, where the inverse depths of many of them are known from earlier
steps. Pose and inverse depths are estimated together by robust maximum likelihood; the measurements are the
pixels of the image and the known depths. Tracks of unknown depth may lie on a moving object and are used only
where few depths are known. They have a typical depth of large variance: such a track determines the pose by
its epipolar line, and without any known depth the scale is the typical one.
Sources: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, chapter 18 and appendix 6; Civera,
Davison and Montiel, "Inverse depth parametrization for monocular SLAM", 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, symmetrised
from iup_pose_ros.geometry.so3 import Array, hat
from iup_pose_ros.odometry.depths import InverseDepths, robust_weight
from iup_pose_ros.odometry.track_geometry import (
    MIN_TRACKS,
    NOISE_FLOOR,
    TrackedRays,
    fitted_rotation,
    robust_sigma,
)
from iup_pose_ros.odometry.tracks import Tracks

MIN_KNOWN = 30  # tracks of known depth that determine a pose without others
_ITERATIONS = 12
_CONVERGED = 1e-5  # change of the image points by the last iteration, z = 1
# Minimum share of inliers: more outliers are a second motion. Rendered flights without one have 80 % or more.
_MIN_INLIERS = 0.75
_UNKNOWN_DEPTH = 1.0  # relative standard deviation of an inverse depth that is not known
# Errors of neighbouring tracks correlate: this many count as one.
_TRACKS_PER_OBSERVATION = 4.0
# Minimum change of the noise from one image to the next, as a share of it.
_MIN_CHANGE = 0.3
_MIN_DEPTH_RATIO = 0.05  # minimum depth in the image relative to that in the keyframe
_INLIER = 3.5  # standard deviations
_MAXIMUM_NOISE = 1.0 / 640.0  # fraction of the image width
_MEDIAN_SQUARE = 1.386  # median of a chi-squared variable with two degrees of freedom


@dataclass(frozen=True, eq=False)
class ImagePose:
    """Pose of an image relative to its keyframe, the origin where it is the keyframe itself.

    Attributes:
        stamp: of the image, seconds.
        keyframe_id: number of the keyframe.
        keyframe_stamp: seconds.
        motion: T_key_image of the camera with its covariance, which is the sum of the following two parts.
        by_noise: (6, 6) part that the noise of the image points causes.
        by_depths: (6, 7) square root of the part that the common errors of the depths cause. These errors are
            the same in all images of a keyframe.
        noise: standard deviation of the image points, z = 1.
        ids: (N,) ids of the inlier tracks, ascending.
        residuals: (N, 2) of their image points, z = 1.
        known: number of inlier tracks of known depth.
    """

    stamp: float
    keyframe_id: int
    keyframe_stamp: float
    motion: PoseWithCovariance
    by_noise: Array
    by_depths: Array
    noise: float
    ids: NDArray[np.int64]
    residuals: Array
    known: int

    @classmethod
    def of_keyframe(cls, tracks: Tracks) -> ImagePose:
        """Return the pose of the keyframe of tracks relative to itself."""
        stamp, none = tracks.keyframe.stamp, np.zeros(0, dtype=np.int64)
        origin = PoseWithCovariance.exact(Pose.identity())
        exact = (np.zeros((6, 6)), np.zeros((6, 7)), 0.0)
        return cls(stamp, tracks.keyframe_id, stamp, origin, *exact, none, np.zeros((0, 2)), 0)

    def motion_to(self, later: ImagePose) -> PoseWithCovariance:
        """Return T_image_later, the motion to a later image of the same keyframe.

        The covariance contains the change of the residuals of the image points, and the growth of the errors
        due to the depths. These are common to all images of a keyframe, but a filter adds up the covariances
        of the motions as if they were independent; growth gives the sum the covariance of the pose.
        """
        _, here, there = np.intersect1d(self.ids, later.ids, assume_unique=True, return_indices=True)
        by_noise = self.by_noise + later.by_noise
        if len(here) >= MIN_TRACKS:
            change = later.residuals[there] - self.residuals[here]
            noise = robust_sigma(change.ravel(), _MIN_CHANGE * later.noise)
            by_noise = later.by_noise * (noise / later.noise) ** 2
        covariance = symmetrised(by_noise + self._growth_by_depths(later))
        back = PoseWithCovariance.exact(self.motion.pose.inverse())
        return back @ PoseWithCovariance(later.motion.pose, covariance)

    def _growth_by_depths(self, later: ImagePose) -> Array:
        """Return an upper bound (6, 6) of the growth of the covariance due to the depths until a later image.

        With the same errors x of the depths, the pose errs by B x here and by (B + D) x there. The covariance
        grows by D D^T + D B^T + B D^T, which may be indefinite and is at most (1 + a) D D^T + B B^T / a for
        any a > 0. With the ratio of the translations' errors as a, this is small, and exact for D = B / a, as
        with an error of the scale at constant velocity.
        """
        errors, change = self.by_depths, later.by_depths - self.by_depths
        size, growth = np.linalg.norm(errors[:3]), np.linalg.norm(change[:3])
        if size == 0.0 or growth == 0.0:
            return np.asarray(change @ change.T)
        ratio = size / growth
        return np.asarray((1.0 + ratio) * change @ change.T + errors @ errors.T / ratio)


def resection(tracks: Tracks, depths: InverseDepths, typical: float, start: Pose) -> ImagePose:
    """Estimate the pose of the latest image of the tracks relative to their keyframe.

    Args:
        tracks: N tracks.
        depths: known inverse depths of tracks in the keyframe.
        typical: inverse depth of a track about which nothing is known.
        start: first value of T_key_image, such as the pose of the previous image. The rotation that aligns
            the rays replaces it where the points are nearer to that, as after a fast turn.

    Raises:
        EstimationError: there are fewer than MIN_TRACKS tracks, or they do not determine a pose.
    """
    rays = tracks.rays
    if len(rays) < MIN_TRACKS:
        raise EstimationError(
            f"{len(rays)} tracks do not determine a pose, at least {MIN_TRACKS} are required"
        )
    # 1. Depths with their variances; those that are not known are typical.
    known = depths.of(rays.ids)
    is_known = known.information > 0.0
    if np.count_nonzero(is_known) >= MIN_KNOWN:
        rays, known, is_known = rays.rows(is_known), known.rows(is_known), is_known[is_known]
    measured = np.where(is_known, known.inverse, typical)
    variance = np.full(len(rays), (_UNKNOWN_DEPTH * typical) ** 2)
    variance[is_known] = 1.0 / known.information[is_known]
    # 2. Robust Gauss-Newton steps of the pose; the most likely depths follow.
    aligned = Pose(fitted_rotation(rays), np.zeros(3))
    start = min(start, aligned, key=lambda pose: _distance(rays, pose, measured))
    pose, inverse, system = _most_likely(rays, start, measured, variance)
    inliers = _inliers(system, rays)
    # 3. Covariance by the noise of the tracks and by the errors common to the depths. If too few depths are
    # known, the error of the scale is common to them.
    by_noise = _TRACKS_PER_OBSERVATION * system.solved(np.eye(6))
    by_depths = np.zeros((6, 7))
    by_depths[:, :6] = system.solved(np.einsum("nij,ni->jn", system.weighted, system.by_depth) @ known.common)
    known_inliers = int(np.count_nonzero(is_known & inliers))
    if known_inliers < MIN_TRACKS:
        by_depths[:3, 6] = _UNKNOWN_DEPTH * pose.translation
    covariance = symmetrised(by_noise + by_depths @ by_depths.T)
    return ImagePose(
        tracks.latest.stamp,
        tracks.keyframe_id,
        tracks.keyframe.stamp,
        PoseWithCovariance(pose, covariance),
        by_noise,
        by_depths,
        system.noise,
        rays.ids[inliers],
        (system.residual - system.by_depth * (inverse - measured)[:, None])[inliers],
        known_inliers,
    )


def _distance(rays: TrackedRays, T_key_image: Pose, inverse: Array) -> float:
    """Return the median distance, z = 1, of the image points from those predicted at inverse depths (N,)."""
    points = (rays.previous - inverse[:, None] * T_key_image.translation) @ T_key_image.rotation
    predicted = points[:, :2] / np.maximum(points[:, 2:], _MIN_DEPTH_RATIO)
    return float(np.median(np.linalg.norm(rays.current[:, :2] - predicted, axis=1)))


def _most_likely(
    rays: TrackedRays, start: Pose, measured: Array, variance: Array
) -> tuple[Pose, Array, _LinearSystem]:
    """Return the most likely pose and inverse depths (N,), and the linear system of the last iteration."""
    pose, inverse = start, measured
    for _ in range(_ITERATIONS):
        system = _LinearSystem.at(rays, pose, inverse, measured, variance)
        step = system.solved(np.einsum("nij,ni->j", system.weighted, system.residual))
        pose = pose.corrected(step)
        change = system.by_pose @ step
        inverse = measured + np.sum(system.gain * (system.residual - change), axis=1)
        if np.abs(change).max() < _CONVERGED:
            break
    return pose, inverse, system


def _inliers(system: _LinearSystem, rays: TrackedRays) -> NDArray[np.bool_]:
    """Return which tracks (N,) agree with the pose.

    Raises:
        EstimationError: the tracks do not show one motion.
    """
    pixels = system.noise * rays.focal
    if pixels > _MAXIMUM_NOISE * rays.width:
        raise EstimationError(f"the tracks disagree by {pixels:.1f} pixels: they do not show one motion")
    inliers = system.square < _INLIER**2
    if np.mean(inliers) < _MIN_INLIERS:
        raise EstimationError(
            f"only {np.mean(inliers):.0%} of {len(rays)} tracks show one motion, at least {_MIN_INLIERS:.0%} "
            "are required: an object that fills much of the view may move"
        )
    return np.asarray(inliers, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class _LinearSystem:
    """Linear system of the pose about a pose and inverse depths, from which the depths are eliminated.

    Attributes:
        residual: (N, 2) measured minus predicted image points, z = 1, at the measured depths.
        by_pose: (N, 2, 6) derivative of the prediction by the pose's error, ROS convention.
        by_depth: (N, 2) derivative of the prediction by the inverse depth.
        gain: (N, 2) derivative of the most likely inverse depth by the residual.
        noise: standard deviation of the image points, z = 1.
        square: (N,) squared residuals in standard deviations; infinite behind the image's camera.
        weighted: (N, 2, 6) derivatives by the pose, multiplied by the inverse covariance of the residual and
            by the robust weight.
    """

    residual: Array
    by_pose: Array
    by_depth: Array
    gain: Array
    noise: float
    square: Array
    weighted: Array

    @classmethod
    def at(
        cls, rays: TrackedRays, T_key_image: Pose, inverse: Array, measured: Array, variance: Array
    ) -> _LinearSystem:
        """Linearise about a pose and inverse depths (N,), given measured ones and their variances (N,)."""
        rotation, translation = T_key_image.rotation, T_key_image.translation
        moved = rays.previous - inverse[:, None] * translation
        point = moved @ rotation
        visible = point[:, 2] > _MIN_DEPTH_RATIO
        depth = np.where(visible, point[:, 2], 1.0)[:, None]
        predicted = point[:, :2] / depth
        # Derivative of the image point by the point's position in the keyframe's axes, (N, 2, 3).
        slope = (rotation[:, :2].T - predicted[:, :, None] * rotation[:, 2]) / depth[:, :, None]
        by_pose = np.concatenate([-inverse[:, None, None] * slope, slope @ hat(moved)], axis=2)
        by_depth = -slope @ translation
        residual = rays.current[:, :2] - predicted - by_depth * (measured - inverse)[:, None]
        # The noise is that across the epipolar lines, where an error of the depth does not move a point.
        lever = np.sum(by_depth**2, axis=1)
        across = by_depth[:, ::-1] * [1.0, -1.0] / np.sqrt(np.maximum(lever, 1e-16))[:, None]
        floor = NOISE_FLOOR * rays.width / rays.focal
        noise = robust_sigma(np.sum(across * residual, axis=1)[visible], floor)
        # The covariance of a residual, noise^2 I + variance by_depth by_depth^T, has the inverse
        # (I - gain by_depth^T) / noise^2. Where residuals are larger than that, both parts are.
        gain = by_depth * (variance / (noise**2 + variance * lever))[:, None]
        along = np.sum(by_depth * residual, axis=1)
        square = (np.sum(residual**2, axis=1) - np.sum(gain * residual, axis=1) * along) / noise**2
        spread = max(1.0, float(np.median(square)) / _MEDIAN_SQUARE)
        square, noise = np.where(visible, square / spread, np.inf), noise * float(np.sqrt(spread))
        mixed = np.einsum("ni,nij->nj", by_depth, by_pose)
        weight = robust_weight(square)[:, None, None] / noise**2
        weighted = weight * (by_pose - gain[:, :, None] * mixed[:, None])
        return cls(residual, by_pose, by_depth, gain, noise, square, weighted)

    def solved(self, right: Array) -> Array:
        """Return the solution (6, ...) for a right side (6, ...).

        Raises:
            EstimationError: the system has no finite solution.
        """
        normal = self.by_pose.reshape(-1, 6).T @ self.weighted.reshape(-1, 6)
        try:
            solution = np.linalg.solve(normal, right)
        except np.linalg.LinAlgError as error:
            raise EstimationError("the tracks do not determine a pose") from error
        if not np.all(np.isfinite(solution)):
            raise EstimationError("the tracks do not determine a pose")
        return np.asarray(solution, dtype=np.float64)

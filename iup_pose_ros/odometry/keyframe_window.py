"""The last keyframes with the tracks that they share, which refine the newest step by bundle adjustment."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance, pose_error
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.bundle_adjustment import ANCHOR, FREE, Bundle
from iup_pose_ros.odometry.depths import InverseDepths
from iup_pose_ros.odometry.scaled_step import ScaledStep
from iup_pose_ros.odometry.track_geometry import NOISE_FLOOR
from iup_pose_ros.odometry.tracks import Tracks

_KEYFRAMES = 5
_MIN_POINTS, _MAX_POINTS = 30, 200
_ITERATIONS = 3
# Maximum squared change of the newest step in standard deviations, 99.7 % of six degrees of freedom.
_MAX_CHANGE = 19.8


@dataclass(frozen=True, eq=False)
class _Keyframe:
    """A keyframe of the window.

    Attributes:
        number: ``keyframe_id`` of its tracks.
        pose: T_window_camera.
        step: measured T_previous_camera; None of the first keyframe.
        depths: known inverse depths of tracks.
        ids: (N,) ids of the tracks seen in it, ascending.
        points: (N, 2) their image points, z = 1.
    """

    number: int
    pose: Pose
    step: PoseWithCovariance | None
    depths: InverseDepths
    ids: NDArray[np.int64]
    points: Array

    @classmethod
    def of(
        cls, tracks: Tracks, pose: Pose, step: PoseWithCovariance | None, depths: InverseDepths
    ) -> _Keyframe:
        """Return the keyframe in which these tracks start."""
        return cls(tracks.keyframe_id, pose, step, depths, tracks.ids, tracks.rays.previous[:, :2])

    def scaled(self, factor: float) -> _Keyframe:
        """Return the same keyframe with lengths multiplied by ``factor``."""
        if factor == 1.0:
            return self
        step = self.step
        if step is not None:
            units = np.repeat([factor, 1.0], 3)
            covariance = units[:, None] * step.covariance * units
            step = PoseWithCovariance(_scaled(step.pose, factor), covariance)
        return replace(
            self, pose=_scaled(self.pose, factor), step=step, depths=self.depths.scaled(1.0 / factor)
        )

    def seen(self, ids: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image points (M, 2) of tracks ``ids`` (M,) and which of them are seen."""
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.points[rows], self.ids[rows] == ids


@dataclass(frozen=True, eq=False)
class Refinement:
    """A refined step.

    Attributes:
        motion: T_prev_curr; its covariance is that of the measured step.
        depths: inverse depths of the tracks in the current keyframe.
    """

    motion: PoseWithCovariance
    depths: InverseDepths


class KeyframeWindow:
    """The last consecutive keyframes, the oldest first."""

    def __init__(self) -> None:
        self._keyframes: list[_Keyframe] = []

    def clear(self) -> None:
        """Forget all keyframes."""
        self._keyframes = []

    def add(self, step: ScaledStep, previous: Tracks, current: Tracks, depths: InverseDepths) -> Refinement:
        """Add a keyframe and return the refined step.

        It is the measured one where too few tracks are seen in at least three keyframes, or where it would
        change by more than its covariance allows.

        Args:
            step: the measured step between the two keyframes.
            previous: tracks from the previous keyframe. The window starts anew if that is not the last one.
            current: tracks that start in the new keyframe.
            depths: known inverse depths in the new keyframe.
        """
        if not self._keyframes or self._keyframes[-1].number != previous.keyframe_id:
            self._keyframes = [_Keyframe.of(previous, Pose.identity(), None, InverseDepths.none())]
        window = [keyframe.scaled(step.unit) for keyframe in self._keyframes[1 - _KEYFRAMES :]]
        window.append(_Keyframe.of(current, window[-1].pose @ step.camera.pose, step.camera, depths))
        self._keyframes = window
        ids = _shared(window)
        if len(ids) < _MIN_POINTS:
            return Refinement(step.camera, depths)
        floor = NOISE_FLOOR * current.rays.width / current.rays.focal
        bundle = _adjusted(_bundle(window, ids, floor), step.camera)
        if bundle is None:
            return Refinement(step.camera, depths)
        inverse, is_inlier = bundle.inverse_depths()
        depths = depths.replaced(ids[is_inlier], inverse[is_inlier])
        window[-1] = replace(window[-1], depths=depths)
        for row in range(-FREE, 0):
            window[row] = replace(window[row], pose=window[ANCHOR].pose @ bundle.poses[row])
        return Refinement(PoseWithCovariance(bundle.last_step, step.camera.covariance), depths)


def _shared(window: list[_Keyframe]) -> NDArray[np.int64]:
    """Return the ids (N,) of the oldest tracks seen from the anchor to the newest keyframe."""
    if len(window) <= FREE:
        return np.zeros(0, dtype=np.int64)
    return np.intersect1d(window[ANCHOR].ids, window[-1].ids, assume_unique=True)[:_MAX_POINTS]


def _bundle(window: list[_Keyframe], ids: NDArray[np.int64], floor: float) -> Bundle:
    """Return the keyframes with the tracks ``ids`` (N,), whose noise is at least ``floor``, z = 1."""
    to_anchor = window[ANCHOR].pose.inverse()
    points, seen = zip(*(keyframe.seen(ids) for keyframe in window), strict=True)
    return Bundle.start(
        [to_anchor @ keyframe.pose for keyframe in window],
        np.stack(points),
        np.stack(seen),
        [keyframe.step for keyframe in window[-FREE:] if keyframe.step is not None],
        window[0].depths.of(ids),
        floor,
    )


def _adjusted(bundle: Bundle, step: PoseWithCovariance) -> Bundle | None:
    """Return the bundle after all iterations; None if it contradicts the measured step or is not finite."""
    try:
        for _ in range(_ITERATIONS):
            bundle = bundle.improved()
    except np.linalg.LinAlgError:
        return None
    error = pose_error(bundle.last_step, step.pose)
    return bundle if error @ np.linalg.solve(step.covariance, error) <= _MAX_CHANGE else None


def _scaled(pose: Pose, factor: float) -> Pose:
    return Pose(pose.rotation, factor * pose.translation)

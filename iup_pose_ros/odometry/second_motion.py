"""Detection of a second consistent motion in the tracks, of an object that fills much of the view.

The solver finds the motion with the most tracks, which may be that of a moving object rather than that of the
static scene. The depths of the scene's tracks are known from earlier steps and confirm its motion; tracks on
the object have no or contradicting depths.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.depths import InverseDepths, step_length
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS, TrackedRays, step_depths
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import RelativePose

# Maximum epipolar error of a track that agrees with a motion, fraction of the image width.
_TOLERANCE = 1.5 / 640.0
_DEVIATIONS = 3.0
# Minimum support of the second motion by tracks that contradict the first one: share of all tracks, and
# relative to the tracks that contradict the second one.
_MIN_SHARE = 0.15
_MIN_RATIO = 0.25
# Minimum share of the known depths that the motion of the scene confirms, and minimum lead over the other.
_MIN_CONFIRMED = 0.4
_DECISIVE = 0.2
# A second motion with fewer inliers among the tracks left would not have the support required.
_SOLVER = EpipolarConfig(min_iterations=100, max_iterations=1000, success_probability=0.99)


def choose_motion(relative: RelativePose, tracks: Tracks, known: InverseDepths, minimum: int) -> RelativePose:
    """Return the motion of the static scene where the tracks have two consistent motions.

    Args:
        relative: pose of unit translation that an estimator returned.
        tracks: N tracks between the two frames.
        known: inverse depths of the same tracks in the keyframe.
        minimum: minimum number of tracks of a motion.

    Returns:
        ``relative`` if there is no second motion of comparable support, or if the known depths confirm it;
        otherwise the second motion, if these confirm it.

    Raises:
        EstimationError: there are two consistent motions, and the known depths do not decide between them.
    """
    rays = tracks.rays
    needed = max(minimum, _MIN_SHARE * len(rays))
    first = _agreeing(rays, relative.T_prev_curr)
    if np.count_nonzero(~first) < needed:
        return relative
    solver = EpipolarSolver(relative.source, replace(_SOLVER, min_inliers=minimum))
    try:
        other = solver.fit(tracks.keyframe, tracks.latest, tracks.matches.chosen(~first)).pose
    except EstimationError:
        return relative
    second = _agreeing(rays, other.T_prev_curr)
    only_first, only_second = np.count_nonzero(first & ~second), np.count_nonzero(second & ~first)
    if only_second < max(needed, _MIN_RATIO * only_first):
        return relative
    if np.count_nonzero(known.information > 0.0) >= MIN_TRACKS:
        confirmed = [_confirmed_share(rays, pose.T_prev_curr, known) for pose in (relative, other)]
        if max(confirmed) >= _MIN_CONFIRMED and abs(confirmed[0] - confirmed[1]) >= _DECISIVE:
            return relative if confirmed[0] > confirmed[1] else other
    raise EstimationError(
        f"two consistent motions: of {len(rays)} tracks, {only_first} agree with one only and {only_second} "
        "with the other only; an object that fills much of the view moves"
    )


def _agreeing(rays: TrackedRays, T_prev_curr: Pose) -> NDArray[np.bool_]:
    """Return whether tracks (N,) are near their epipolar lines and not behind the cameras."""
    tolerance = _TOLERANCE * rays.width
    return step_depths(rays, T_prev_curr).inliers(tolerance, behind=_DEVIATIONS * tolerance)


def _confirmed_share(rays: TrackedRays, T_prev_curr: Pose, known: InverseDepths) -> float:
    """Return the share of the tracks of known depth that agree with a motion and have this depth by it."""
    rows = known.information > 0.0
    depths = step_depths(rays, T_prev_curr)
    variance = (_TOLERANCE * rays.width / _DEVIATIONS * depths.sensitivity[rows]) ** 2
    inverse, known = depths.inverse[rows], known.rows(rows)
    length = step_length(inverse, variance, known).length
    error = (inverse - length * known.inverse) ** 2 / (variance + length**2 / known.information)
    return float(np.mean((error < _DEVIATIONS**2) & _agreeing(rays, T_prev_curr)[rows]))

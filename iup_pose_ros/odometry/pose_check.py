"""Checks of an estimator's relative pose by the tracks, and its correction by the known depths.

``fixed_in_image`` finds the tracks to leave out before the estimator is asked; ``checked`` is for its pose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtri

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.residuals import CameraPair
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
from iup_pose_ros.estimators.pose_evidence import PoseEvidence, motion_past_fixed
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, angles_between, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import InverseDepths, step_length
from iup_pose_ros.odometry.image_pose import MIN_KNOWN, ImagePose
from iup_pose_ros.odometry.odometry_config import OdometryConfig
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS, TrackedRays, observe, step_depths
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import RelativePose

# Standard deviations within which values agree.
_DEVIATIONS = 3.0

# Plausibility: standard deviation of a track, fraction of the image width.
_PIXEL = 1.0 / 640.0

# Known depths: maximum cost of one track, its squared error in standard deviations.
_MAXIMUM_COST = 9.0
# Tracking errors vary smoothly over the image: of two images of a video this many tracks count as one.
_TRACKS_PER_OBSERVATION = 16.0
_MIN_PROBABILITY = 1e-4  # of a hypothesis by two images

# Second motion: maximum epipolar error of a track that agrees with a motion, fraction of the image width.
_TOLERANCE = 1.5 / 640.0
# Minimum support of the second motion by tracks that contradict the first one: share of all tracks, and
# relative to the tracks that contradict the second one.
_MIN_SHARE = 0.15
_MIN_RATIO = 0.25
# Minimum share of the known depths that the motion of the scene confirms, and minimum lead over the other.
_MIN_CONFIRMED = 0.6
_DECISIVE = 0.2
# One motion with many outliers: minimum share of the known depths that confirm it or, if none are known, of
# the tracks that agree with it.
_MIN_CONFIRMED_ALONE = 0.4
_MIN_AGREEING = 0.75
# A second motion with fewer inliers among the tracks left would not have the support required.
_SOLVER = EpipolarConfig(min_iterations=100, max_iterations=1000, success_probability=0.99)

# Factor of the resection's covariance, which lacks the errors of the camera model and of wrong depths.
_UNMODELLED = 3.0
# The poses contradict each other if they differ by more than these angles (radians) and standard deviations.
_MAX_TURN = math.radians(5.0)
_MAX_ANGLE = math.radians(10.0)


def checked(
    relative: RelativePose,
    tracks: Tracks,
    known: InverseDepths,
    config: OdometryConfig,
    resect: Callable[[], ImagePose],
) -> RelativePose:
    """Return an estimator's pose, or the one that replaces it; raise EstimationError if a check fails.

    Args:
        relative: an estimator's pose.
        tracks: N tracks between the two frames.
        known: inverse depths of the same tracks in the keyframe.
        config: thresholds.
        resect: returns the pose by tracks of known depth; it may raise EstimationError.
    """
    rays, minimum = tracks.rays, config.minimum_tracks
    relative = resolve_ambiguity(relative, rays, known)
    check(relative, rays, tracks.interval, config)
    if relative.metric:
        return relative
    relative = choose_motion(relative, tracks, known, minimum)
    check(relative, rays, tracks.interval, config)
    with suppress(EstimationError):
        chosen = resolve_contradiction(relative, resect())
        check(chosen, rays, tracks.interval, config)
        relative = chosen
    check_confirmed(relative, rays, known, minimum)
    return relative


def resolve_ambiguity(relative: RelativePose, rays: TrackedRays, known: InverseDepths) -> RelativePose:
    """Return the more probable of two hypotheses, given the images and the known depths.

    Both explain all tracks of a nearly planar scene, but imply different depths. The covariance is that of
    the mixture of both. A pose without hypotheses is returned unchanged.

    Args:
        relative: an estimator's pose; the probability of its second hypothesis takes the errors of all tracks
            as independent.
        rays: N tracks between the two frames.
        known: inverse depths of the same tracks in the previous frame; ignored if fewer than ``MIN_TRACKS``.
    """
    if not relative.hypotheses:
        return relative
    first, second = relative.hypotheses
    by_images = float(ndtri(relative.second_probability)) / math.sqrt(_TRACKS_PER_OBSERVATION)
    evidence = _log_odds(max(by_images, float(ndtri(_MIN_PROBABILITY))))
    rows = known.information > 0.0
    if np.count_nonzero(rows) >= MIN_TRACKS:
        difference = _depth_costs(first, rays, known, rows) - _depth_costs(second, rays, known, rows)
        # As in ``second_pose_probability``, the sum is normalised by its empirical standard deviation.
        scatter = float(np.sqrt(np.sum((difference - difference.mean()) ** 2)))
        by_depths = float(difference.sum()) / (scatter + 1e-9)
        evidence += _log_odds(by_depths / math.sqrt(_TRACKS_PER_OBSERVATION))
    probability = float(expit(evidence))
    if probability > 0.5:
        first, second, probability = second, first, 1.0 - probability
    chosen = replace(first, attention=relative.attention, inlier_probability=relative.inlier_probability)
    return chosen.covering(second.T_prev_curr, probability)


def check(relative: RelativePose, rays: TrackedRays, interval: float, config: OdometryConfig) -> None:
    """Check that a pose is finite, has a positive definite covariance, and agrees with rate limit and tracks.

    Args:
        relative: the estimator's relative pose.
        rays: tracks between the two frames; ignored if fewer than ``config.minimum_tracks``.
        interval: seconds between the two frames.
        config: thresholds.

    Raises:
        EstimationError: a check fails; the message says which.
    """
    pose, covariance = relative.T_prev_curr, relative.covariance
    values = np.concatenate([pose.matrix.ravel(), np.ravel(covariance), relative.sigma_R, [relative.sigma_t]])
    if not np.all(np.isfinite(values)):
        raise EstimationError(f"pose or covariance of {relative.source} is not finite")
    if np.linalg.norm(pose.translation) == 0.0 and not relative.metric:
        raise EstimationError(f"translation of {relative.source} has no direction")
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise EstimationError(f"covariance of {relative.source} is not positive definite")
    check_rotation_rate(pose, interval, config, relative.source)
    if len(rays) >= config.minimum_tracks:
        share = _inlier_share(relative, rays)
        if share < config.minimum_inlier_fraction:
            raise EstimationError(
                f"only {share:.0%} of {len(rays)} tracks agree with the pose of {relative.source}, "
                f"the minimum is {config.minimum_inlier_fraction:.0%} (minimum_inlier_fraction)"
            )


def check_rotation_rate(pose: Pose, interval: float, config: OdometryConfig, source: str) -> None:
    """Raise EstimationError if a pose of ``interval`` seconds rotates faster than the settings allow."""
    rate = float(so3.angle(pose.rotation)) / interval
    if rate > config.maximum_rotation_rate:
        raise EstimationError(
            f"rotation rate of {source} is {rate:.1f} rad/s; the maximum is "
            f"{config.maximum_rotation_rate} rad/s (maximum_rotation_rate)"
        )


def fixed_in_image(tracks: Tracks, known: InverseDepths, minimum: int) -> NDArray[np.bool_]:
    """Return which of N tracks are on drops or dirt on the lens or on the robot itself; see ``PoseEvidence``.

    Tracks that have shown parallax are part of the scene: if they stay in place, an object moves in front
    of a resting camera.

    Args:
        tracks: N tracks between the two frames.
        known: inverse depths of the same tracks in the keyframe.
        minimum: minimum number of tracks of the motion that they contradict.
    """
    evidence = PoseEvidence(CameraPair.of(tracks.keyframe, tracks.latest), {"tracks": tracks.matches})
    solver = EpipolarSolver("tracks", replace(_SOLVER, min_inliers=minimum))
    T_moving = motion_past_fixed(evidence, "tracks", partial(solver.fit, tracks.keyframe, tracks.latest))
    if T_moving is None or not evidence.prevails(T_moving):
        return np.zeros(len(tracks), dtype=np.bool_)
    has_parallax = known.inverse * np.sqrt(known.information) > _DEVIATIONS
    return evidence.fixed("tracks", T_moving) & ~has_parallax


def choose_motion(relative: RelativePose, tracks: Tracks, known: InverseDepths, minimum: int) -> RelativePose:
    """Return the motion of the static scene where the tracks have two consistent motions.

    The estimator finds the motion with the most tracks, which may be that of an object. The tracks on an
    object have no depths from earlier steps or contradict them.

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


def check_confirmed(relative: RelativePose, rays: TrackedRays, known: InverseDepths, minimum: int) -> None:
    """Check that the known depths, or most tracks if there are none, confirm a pose with many outliers.

    Args:
        relative: pose of unit translation.
        rays: N tracks between the two frames.
        known: inverse depths of the same tracks in the previous frame; ignored if fewer than ``MIN_TRACKS``.
        minimum: minimum number of tracks of a motion.

    Raises:
        EstimationError: too few tracks confirm the pose.
    """
    agreeing = _agreeing(rays, relative.T_prev_curr)
    if np.count_nonzero(~agreeing) < max(minimum, _MIN_SHARE * len(rays)):
        return
    has_depths = np.count_nonzero(known.information > 0.0) >= MIN_TRACKS
    share = _confirmed_share(rays, relative.T_prev_curr, known) if has_depths else float(np.mean(agreeing))
    needed = _MIN_CONFIRMED_ALONE if has_depths else _MIN_AGREEING
    if share < needed:
        what = "tracks of known depth" if has_depths else "tracks"
        raise EstimationError(
            f"only {share:.0%} of the {what} confirm the pose of {relative.source}, at least {needed:.0%} "
            "are required: an object that fills much of the view may move"
        )


def resolve_contradiction(relative: RelativePose, image: ImagePose) -> RelativePose:
    """Return the estimator's pose, or the pose by resection where that contradicts it.

    A wrong pose may fit the tracks between two images as well as the true one, which the estimator cannot
    notice. The depths come from further images. If the two poses contradict each other, the resection is
    therefore returned, with a covariance that covers both poses, since the depths may be wrong. A resection
    that fewer than ``MIN_KNOWN`` tracks of known depth agree with contradicts nothing.

    Args:
        relative: an estimator's pose, not metric.
        image: pose of the same image by resection.
    """
    pose, covariance = image.motion.pose, image.motion.covariance
    length = float(np.linalg.norm(pose.translation))
    if image.known < MIN_KNOWN or length == 0.0:
        return relative
    # 1. The resection as a pose of unit length; the variance along its translation is nominal.
    direction = pose.translation / length
    along = np.outer(direction, direction)
    to_unit = np.eye(6)
    to_unit[:3, :3] = (np.eye(3) - along) / length
    covariance = _UNMODELLED * to_unit @ covariance @ to_unit.T
    sigma_t = float(np.sqrt(0.5 * np.trace(covariance[:3, :3])))
    covariance[:3, :3] += sigma_t**2 * along
    resected = replace(
        relative,
        T_prev_curr=Pose(pose.rotation, direction),
        covariance=symmetrised(covariance),
        sigma_R=np.sqrt(np.diag(covariance)[3:]),
        sigma_t=sigma_t,
        hypotheses=(),
    )
    # 2. Difference of the two poses in angles and in standard deviations.
    estimated = relative.T_prev_curr
    turn, angle = angles_between(estimated, resected.T_prev_curr)
    sigma_R = math.hypot(float(np.max(relative.sigma_R)), float(np.max(resected.sigma_R)))
    sigma_angle = math.hypot(relative.sigma_t, sigma_t)
    if turn <= max(_MAX_TURN, _DEVIATIONS * sigma_R) and angle <= max(_MAX_ANGLE, _DEVIATIONS * sigma_angle):
        return relative
    probability = None if relative.inlier_probability is None else min(relative.inlier_probability, 0.5)
    return replace(resected, inlier_probability=probability).covering(estimated, 0.5)


def _inlier_share(relative: RelativePose, rays: TrackedRays) -> float:
    """Return the share of tracks near their epipolar lines and not clearly behind the cameras."""
    pixel = _PIXEL * rays.width
    tolerance = _DEVIATIONS * float(np.hypot(pixel, rays.focal * np.max(relative.sigma_R)))
    direction = relative.T_prev_curr.translation
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return 1.0
    depths = step_depths(rays, Pose(relative.T_prev_curr.rotation, direction / length))
    return float(np.mean(depths.inliers(tolerance)))


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


def _log_odds(deviations: float) -> float:
    """Return the logarithm of the odds of a normal variable's being below a number of standard deviations."""
    return float(log_ndtr(deviations) - log_ndtr(-deviations))


def _depth_costs(
    relative: RelativePose, rays: TrackedRays, known: InverseDepths, rows: NDArray[np.bool_]
) -> Array:
    """Return the squared normalised differences of triangulated and known depths of the chosen tracks."""
    seen = observe(rays, relative.T_prev_curr)
    inverse, variance, known = seen.depths.inverse[rows], seen.variance[rows], known.rows(rows)
    length = step_length(inverse, variance, known).length
    squares = (inverse - length * known.inverse) ** 2 / (variance + length**2 / known.information)
    return np.minimum(squares, _MAXIMUM_COST)

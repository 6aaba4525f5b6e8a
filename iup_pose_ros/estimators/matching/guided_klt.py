"""Lucas-Kanade tracks that are initialised by coarse matches, such as those of a network.

The current image is warped to the previous one by a smooth motion field that is fitted to the coarse matches.
Tracking thus starts close to the solution, and patches have the same scale and orientation. Local brightness
and contrast are normalised in both images, because Lucas-Kanade assumes constant exposure. Tracks of a few
corners at half the resolution, where the search range is larger, refine the motion field; then all corners
are tracked at full resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from iup_pose_ros.estimators.matching.features import Image, LucasKanadeConfig, detect_corners, track_points
from iup_pose_ros.estimators.matching.motion_field import MotionField, fit_motion_field
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches

_SEEDS = LucasKanadeConfig(levels=1, max_backward_error=1.0, iterations=10, epsilon=0.05)
# After warping, small patches suffice, which contain fewer depth discontinuities.
_TRACKS = LucasKanadeConfig(window=15, levels=1, iterations=15, epsilon=0.02)
# Local normalisation: window in pixels, larger than a patch; target contrast, minimum contrast (so that noise
# is not amplified) and mean in grey levels.
_LOCAL_WINDOW = 31
_LOCAL_CONTRAST, _MIN_CONTRAST, _MID_GREY = 48.0, 5.0, 128.0


@dataclass(frozen=True)
class GuidedTracksConfig:
    """Settings of guided tracking. Lengths are relative to the longer image side unless in pixels.

    Attributes:
        max_corners: maximum number of corners.
        min_weight: minimum weight of the coarse match nearest to a corner, relative to the maximum weight;
            other corners are unlikely to be visible in the current image.
        min_distance: minimum distance between two corners, pixels.
        quality_level: minimum corner strength, relative to the strongest corner; low, because tracks are well
            initialised.
        coarse_iterations: maximum number of iterations at half the resolution.
        convergence: median change of the motion field below which these iterations stop.
        seed_cell: side length of the cells from which the corners of these iterations are chosen.
        seeds_per_cell: maximum number of these corners per cell.
        initial_sigma: standard deviation of the motion field's kernel for coarse matches only.
        sigma: standard deviation of the motion field's kernel for coarse matches and tracks.
        coarse_weight: weight of the coarse matches relative to tracks.
        seeds: settings of tracking at half the resolution.
        tracks: settings of tracking at full resolution.
    """

    max_corners: int = 1500
    min_weight: float = 0.02
    min_distance: float = 7.0
    quality_level: float = 0.002
    coarse_iterations: int = 2
    convergence: float = 0.006
    seed_cell: float = 0.05
    seeds_per_cell: int = 2
    initial_sigma: float = 0.075
    sigma: float = 0.04
    coarse_weight: float = 0.1
    seeds: LucasKanadeConfig = _SEEDS
    tracks: LucasKanadeConfig = _TRACKS


RETRACKED = GuidedTracksConfig(
    max_corners=600,
    min_weight=0.0,
    quality_level=0.01,
    coarse_iterations=0,
    initial_sigma=0.04,
    tracks=replace(_TRACKS, window=11),
)
"""Settings for coarse matches that are inlier tracks, with errors of one or two pixels."""


class GuidedTracker:
    """Tracks corners of the previous frame into the current one, initialised by coarse matches."""

    def __init__(self, config: GuidedTracksConfig = GuidedTracksConfig()) -> None:
        self._config = config

    def match(self, previous: Frame, current: Frame, coarse: Matches, weights: Array) -> Matches:
        """Track corners of the previous frame; return the valid tracks.

        Args:
            previous, current: frames, which may differ in size.
            coarse: N matches with errors of up to a few percent of the image size, and outliers.
            weights: (N,) positive confidences of the coarse matches.
        """
        config = self._config
        corners = detect_corners(
            previous.grey,
            config.max_corners,
            config.min_distance,
            quality_level=config.quality_level,
            usable=previous.usable,
        )
        if len(coarse) > 0 and len(corners) > 0:
            _, nearest = cKDTree(coarse.points_prev).query(corners)
            corners = corners[weights[nearest] >= config.min_weight * weights.max()]
        if len(coarse) == 0 or len(corners) == 0:
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)))
        image_prev, image_curr = _normalise_locally(previous.grey), _normalise_locally(current.grey)
        motion = self._motion_field(image_prev, image_curr, corners, coarse, weights)
        warped = motion.warp(image_curr, previous.intrinsics.width, previous.intrinsics.height)
        tracked, valid = track_points(image_prev, warped, corners, config=config.tracks)
        found = _inside(Matches(corners[valid], motion.displace(tracked[valid])), image_curr)
        return found.chosen(current.are_usable(found.points_curr))

    def _motion_field(
        self, image_prev: Image, image_curr: Image, corners: Array, coarse: Matches, weights: Array
    ) -> MotionField:
        """Fit the motion field to the coarse matches and refine it by tracks at half the resolution."""
        config = self._config
        height, width = image_prev.shape
        longer_side = max(width, height)
        seeds = strongest_per_cell(corners, config.seed_cell * longer_side, config.seeds_per_cell)
        motion = fit_motion_field(coarse, weights, width, height, config.initial_sigma)
        for _ in range(config.coarse_iterations):
            tracks = track_at_half_resolution(image_prev, image_curr, seeds, motion, config.seeds)
            if len(tracks) == 0:
                break
            change = np.linalg.norm(tracks.points_curr - motion.displace(tracks.points_prev), axis=1)
            combined = np.concatenate([config.coarse_weight * weights, np.ones(len(tracks))])
            motion = fit_motion_field(coarse.followed_by(tracks), combined, width, height, config.sigma)
            if np.median(change) < config.convergence * longer_side:
                break
        return motion


def track_at_half_resolution(
    image_prev: Image, image_curr: Image, corners: Array, motion: MotionField, config: LucasKanadeConfig
) -> Matches:
    """Track corners (N, 2) at half the resolution, initialised by a motion field."""
    height, width = image_prev.shape
    warped = cv2.pyrDown(motion.warp(image_curr, width, height))
    # Pixel u of cv2.pyrDown has its centre at pixel 2 u of the image.
    tracked, valid = track_points(
        _as_grey(cv2.pyrDown(image_prev)), _as_grey(warped), 0.5 * corners, config=config
    )
    return _inside(Matches(corners[valid], motion.displace(2.0 * tracked[valid])), image_curr)


def _normalise_locally(image: Image) -> Image:
    """Normalise local brightness and contrast of an image (H, W)."""
    window = (_LOCAL_WINDOW, _LOCAL_WINDOW)
    mean = cv2.boxFilter(image, cv2.CV_32F, window)
    variance = cv2.sqrBoxFilter(image, cv2.CV_32F, window) - mean * mean
    contrast = np.sqrt(np.maximum(variance, 0.0) + _MIN_CONTRAST**2)
    normalised = cv2.divide(cv2.subtract(image, mean, dtype=cv2.CV_32F), contrast, scale=_LOCAL_CONTRAST)
    return np.clip(normalised + _MID_GREY, 0.0, 255.0).astype(np.uint8)


def _as_grey(image: NDArray[np.generic]) -> Image:
    return np.asarray(image, dtype=np.uint8)


def _inside(matches: Matches, image_curr: Image) -> Matches:
    """Select the matches whose current point is inside the image."""
    height, width = image_curr.shape
    points = matches.points_curr
    inside = np.all((points >= 0.0) & (points <= (width - 1, height - 1)), axis=1)
    return matches.chosen(inside)


def strongest_per_cell(corners: Array, cell: float, count: int) -> Array:
    """Select at most ``count`` corners per square cell of side ``cell``; (N, 2), the strongest first."""
    columns, rows = np.floor(corners / cell).astype(np.intp).T
    cells = rows * (columns.max() + 1) + columns
    order = np.argsort(cells, kind="stable")
    in_order = cells[order]
    rank = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    return corners[np.sort(order[rank < count])]

"""Lucas-Kanade tracks that start where coarse matches say, as a network's soft correspondence does.

The current image is warped to look like the previous one by a smooth field fitted to the coarse matches, so
that tracking starts near its goal and patches agree in scale and orientation, too. They agree in brightness
and contrast as well, because those of every place are taken out of both images: a camera's exposure changes,
and Lucas-Kanade would not follow. The tracks found refine the field: first at half the resolution, where a
patch reaches far, for a few corners all over the image, and then in full for all corners.
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

_SEEDS = LucasKanadeConfig(levels=1, max_backward_error=1.0, iterations=10, last_step=0.05)
# The warp has made patches alike, so small ones do, which hold fewer edges of depth.
_TRACKS = LucasKanadeConfig(window=15, levels=1, iterations=15, last_step=0.02)
# Grey levels. Brightness and contrast are those of a window wider than a patch; noise is not magnified.
_LOCAL_WINDOW = 31
_LOCAL_CONTRAST, _LEAST_CONTRAST, _MID_GREY = 48.0, 5.0, 128.0


@dataclass(frozen=True)
class GuidedTracksConfig:
    """Settings of guided tracking. Lengths are shares of the longer image side where not in pixels.

    Attributes:
        max_corners: most corners that are looked at.
        least_trust: weight of the coarse match nearest to a corner, relative to the greatest weight, below
            which it is not tracked: the current image hardly shows it.
        min_distance: least distance between two corners, pixels.
        quality_level: least corner strength, relative to the strongest corner. Low: there are good starts.
        coarse_rounds: most rounds at half the resolution.
        settled: the last of them is the one that moves the field by less than this, in the median.
        seed_cell, seeds_per_cell: corners tracked in these rounds, the strongest of every cell.
        first_reach, reach: of the field's kernel on coarse matches alone, and with tracks.
        coarse_weight: of the coarse matches beside tracks.
        seeds: tracking at half the resolution.
        tracks: tracking at full resolution.
    """

    max_corners: int = 1500
    least_trust: float = 0.02
    min_distance: float = 7.0
    quality_level: float = 0.002
    coarse_rounds: int = 2
    settled: float = 0.006
    seed_cell: float = 0.05
    seeds_per_cell: int = 2
    first_reach: float = 0.075
    reach: float = 0.04
    coarse_weight: float = 0.1
    seeds: LucasKanadeConfig = _SEEDS
    tracks: LucasKanadeConfig = _TRACKS


RETRACKED = GuidedTracksConfig(
    max_corners=600,
    least_trust=0.0,
    quality_level=0.01,
    coarse_rounds=0,
    first_reach=0.04,
    tracks=replace(_TRACKS, window=11),
)
"""For coarse matches that are tracks already, right to a pixel or two and without wrong ones."""


class GuidedTracker:
    """Corners of the previous frame, tracked into the current one from coarse matches on."""

    def __init__(self, config: GuidedTracksConfig = GuidedTracksConfig()) -> None:
        self._config = config

    def match(self, previous: Frame, current: Frame, coarse: Matches, weights: Array) -> Matches:
        """Tracks between two frames, possibly none.

        Args:
            previous, current: they may differ in size.
            coarse: matches right to a few percent of the image; some may be wrong.
            weights: (N,) how far each of them is trusted, positive.
        """
        corners = self._corners(previous.grey, coarse, weights)
        if len(corners) == 0:
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)))
        image_prev, image_curr = _locally_normalised(previous.grey), _locally_normalised(current.grey)
        motion = self._motion(image_prev, image_curr, corners, coarse, weights)
        warped = motion.warped(image_curr, previous.intrinsics.width, previous.intrinsics.height)
        tracked, valid = track_points(image_prev, warped, corners, config=self._config.tracks)
        return _inside(Matches(corners[valid], motion.moved(tracked[valid])), image_curr)

    def _corners(self, image: Image, coarse: Matches, weights: Array) -> Array:
        """Corners (N, 2) that the current image is likely to show, the strongest first."""
        config = self._config
        corners = detect_corners(
            image, config.max_corners, config.min_distance, quality_level=config.quality_level
        )
        if len(coarse) == 0 or len(corners) == 0:
            return np.zeros((0, 2))
        _, nearest = cKDTree(coarse.points_prev).query(corners)
        trusted: Array = corners[weights[nearest] >= config.least_trust * weights.max()]
        return trusted

    def _motion(
        self, image_prev: Image, image_curr: Image, corners: Array, coarse: Matches, weights: Array
    ) -> MotionField:
        """The field of the coarse matches and of the tracks at half the resolution."""
        config = self._config
        height, width = image_prev.shape
        longer_side = max(width, height)
        seeds = _strongest_of_cells(corners, config.seed_cell * longer_side, config.seeds_per_cell)
        motion = fit_motion_field(coarse, weights, width, height, config.first_reach)
        for _ in range(config.coarse_rounds):
            tracks = _seed_tracks(image_prev, image_curr, seeds, motion, config.seeds)
            if len(tracks) == 0:
                break
            moves = np.linalg.norm(tracks.points_curr - motion.moved(tracks.points_prev), axis=1)
            trust = np.concatenate([config.coarse_weight * weights, np.ones(len(tracks))])
            motion = fit_motion_field(coarse.followed_by(tracks), trust, width, height, config.reach)
            if np.median(moves) < config.settled * longer_side:
                break
        return motion


def _seed_tracks(
    image_prev: Image, image_curr: Image, corners: Array, motion: MotionField, config: LucasKanadeConfig
) -> Matches:
    """Corners tracked at half the resolution."""
    height, width = image_prev.shape
    warped = cv2.pyrDown(motion.warped(image_curr, width, height))
    # Pixel 2 u of an image lies in the middle of pixel u of cv2.pyrDown's.
    tracked, valid = track_points(
        _as_grey(cv2.pyrDown(image_prev)), _as_grey(warped), 0.5 * corners, config=config
    )
    return _inside(Matches(corners[valid], motion.moved(2.0 * tracked[valid])), image_curr)


def _locally_normalised(image: Image) -> Image:
    """The image (H, W) with the same brightness and contrast everywhere."""
    window = (_LOCAL_WINDOW, _LOCAL_WINDOW)
    mean = cv2.boxFilter(image, cv2.CV_32F, window)
    variance = cv2.sqrBoxFilter(image, cv2.CV_32F, window) - mean * mean
    contrast = np.sqrt(np.maximum(variance, 0.0) + _LEAST_CONTRAST**2)
    normalised = cv2.divide(cv2.subtract(image, mean, dtype=cv2.CV_32F), contrast, scale=_LOCAL_CONTRAST)
    return np.clip(normalised + _MID_GREY, 0.0, 255.0).astype(np.uint8)


def _as_grey(image: NDArray[np.generic]) -> Image:
    return np.asarray(image, dtype=np.uint8)


def _inside(matches: Matches, image_curr: Image) -> Matches:
    """The matches that end inside the current image."""
    height, width = image_curr.shape
    points = matches.points_curr
    inside = np.all((points >= 0.0) & (points <= (width - 1, height - 1)), axis=1)
    return matches.chosen(inside)


def _strongest_of_cells(corners: Array, cell: float, count: int) -> Array:
    """At most ``count`` corners of every square cell; corners (N, 2) with the strongest first."""
    columns, rows = np.floor(corners / cell).astype(np.intp).T
    cells = rows * (columns.max() + 1) + columns
    order = np.argsort(cells, kind="stable")
    in_order = cells[order]
    rank = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    return corners[np.sort(order[rank < count])]

"""Point matches between two frames: Lucas-Kanade (KLT) tracks for video, SIFT for wide baselines.

Points are pixels (x, y); (0, 0) is the centre of the top-left pixel, as in OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.frame_cache import FrameCache
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches

Image = NDArray[np.uint8]

# Exposure is compared by these quantiles (per cent) of every so-manieth pixel, where they are neither too
# dark for a ratio nor saturated. Gains below the last value are not corrected.
_QUANTILES = (15.0, 30.0, 45.0, 60.0, 75.0, 90.0)
_EXPOSURE_STRIDE = 4
_DARKEST, _BRIGHTEST = 6.0, 250.0
_GAIN_LEFT_ALONE = 1.2


class FrontEnd(Protocol):
    """Interface of methods that find matches between two frames."""

    @property
    def name(self) -> str:
        """Return a short name, which is part of the name of the estimator."""

    def match(self, previous: Frame, current: Frame) -> Matches:
        """Return the matches between two frames; there may be none, and outliers."""


@dataclass(frozen=True)
class LucasKanadeConfig:
    """Settings of corner detection and tracking. Lengths are in pixels of the given images.

    Attributes:
        max_corners: maximum number of corners.
        min_distance: minimum distance between two corners.
        quality_level: minimum corner strength, relative to the strongest corner of the image.
        window: side length of the tracked patch.
        levels: number of pyramid levels above the full image; each doubles the maximum motion.
        max_backward_error: maximum forward-backward error.
        iterations: maximum number of iterations per pyramid level.
        epsilon: step length at which the iterations stop.
    """

    max_corners: int = 1500
    min_distance: float = 7.0
    quality_level: float = 0.01
    window: int = 21
    levels: int = 4
    max_backward_error: float = 0.5
    iterations: int = 30
    epsilon: float = 0.01


@dataclass(frozen=True)
class SiftConfig:
    """Settings of SIFT.

    Attributes:
        max_features: maximum number of features; those of highest contrast are used.
        ratio: maximum ratio of nearest to second nearest distance (Lowe, 2004, section 7.1).
        contrast_threshold: minimum contrast of a feature.
    """

    max_features: int = 4096
    ratio: float = 0.8
    contrast_threshold: float = 0.01


def detect_corners(
    image: Image,
    max_corners: int,
    min_distance: float,
    existing: Array | None = None,
    quality_level: float = 0.01,
    usable: Image | None = None,
) -> Array:
    """Detect corners (N, 2), the strongest first (Shi and Tomasi, "Good features to track", 1994).

    Args:
        image: (H, W) grey.
        max_corners: maximum number of corners; none if it is not positive.
        min_distance: minimum distance between two corners and to ``existing`` points, pixels.
        existing: points (M, 2) that are already tracked.
        quality_level: minimum corner strength, relative to the strongest corner.
        usable: (H, W), non-zero where corners may lie (Frame.usable); None: everywhere.
    """
    if max_corners <= 0:
        return np.zeros((0, 2))
    mask = usable
    if existing is not None and len(existing) > 0:
        mask = np.full(image.shape, 255, dtype=np.uint8) if usable is None else usable.copy()
        for x, y in np.rint(existing).astype(int).tolist():
            cv2.circle(mask, (x, y), round(min_distance), 0, thickness=cv2.FILLED)
    corners = cv2.goodFeaturesToTrack(image, max_corners, quality_level, min_distance, mask=mask)
    return np.zeros((0, 2)) if corners is None else np.asarray(corners, dtype=np.float64).reshape(-1, 2)


def track_points(
    image_prev: Image,
    image_curr: Image,
    points: Array,
    initial: Array | None = None,
    config: LucasKanadeConfig = LucasKanadeConfig(),
) -> tuple[Array, NDArray[np.bool_]]:
    """Track points by Lucas-Kanade.

    A point is valid if it is inside the current image and has a small forward-backward error (Kalal,
    Mikolajczyk, Matas, "Forward-backward error", 2010). If the exposure changed between the images, the
    darker one is brightened first.

    Args:
        image_prev: (H, W) grey image of the points.
        image_curr: (H, W) grey image of the same size.
        points: (N, 2).
        initial: (N, 2) initial positions in ``image_curr``; default: ``points``.
        config: settings of tracking; those of corner detection are ignored.

    Returns:
        Points (N, 2) in ``image_curr``, undefined where invalid, and whether (N,) they are valid.
    """
    if len(points) == 0:
        return np.zeros((0, 2)), np.zeros(0, dtype=np.bool_)
    image_prev, image_curr = evenly_exposed(image_prev, image_curr)
    start = np.ascontiguousarray(points, dtype=np.float32).reshape(-1, 1, 2)
    guess = start if initial is None else np.ascontiguousarray(initial, dtype=np.float32).reshape(-1, 1, 2)
    forth, found = _lucas_kanade(image_prev, image_curr, start, guess, config)
    back, found_back = _lucas_kanade(image_curr, image_prev, forth, forth + (start - guess), config)
    error = np.linalg.norm((back - start).reshape(-1, 2), axis=1)
    curr = forth.reshape(-1, 2).astype(np.float64)
    height, width = image_curr.shape
    inside = np.all((curr >= 0.0) & (curr <= (width - 1, height - 1)), axis=1)
    return curr, found & found_back & inside & (error <= config.max_backward_error)


def evenly_exposed(first: Image, second: Image) -> tuple[Image, Image]:
    """Return two grey images of one scene, the darker one multiplied so that both have equal grey levels.

    The gain is the median ratio of the images' quantiles, which a change of the view hardly moves. A small
    one is left to the tracking, which compares gradients.
    """
    levels = [
        np.percentile(image[::_EXPOSURE_STRIDE, ::_EXPOSURE_STRIDE], _QUANTILES) for image in (first, second)
    ]
    usable = (np.minimum(*levels) >= _DARKEST) & (np.maximum(*levels) < _BRIGHTEST)
    if not usable.any():
        return first, second
    gain = float(np.median(levels[1][usable] / levels[0][usable]))
    if 1.0 / _GAIN_LEFT_ALONE < gain < _GAIN_LEFT_ALONE:
        return first, second
    if gain > 1.0:
        return np.asarray(cv2.convertScaleAbs(first, alpha=gain), dtype=np.uint8), second
    return first, np.asarray(cv2.convertScaleAbs(second, alpha=1.0 / gain), dtype=np.uint8)


def _lucas_kanade(
    image_from: Image,
    image_to: Image,
    points: NDArray[np.float32],
    guess: NDArray[np.float32],
    config: LucasKanadeConfig,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    tracked, status, _ = cv2.calcOpticalFlowPyrLK(
        image_from,
        image_to,
        points,
        guess.copy(),
        winSize=(config.window, config.window),
        maxLevel=config.levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, config.iterations, config.epsilon),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(tracked, dtype=np.float32), np.asarray(status).ravel() == 1


class LucasKanadeFrontEnd:
    """Tracks corners of the previous frame into the current one."""

    name = "klt"

    def __init__(self, config: LucasKanadeConfig = LucasKanadeConfig()) -> None:
        self._config = config

    def match(self, previous: Frame, current: Frame) -> Matches:
        """See FrontEnd.match."""
        config = self._config
        corners = detect_corners(
            previous.grey,
            config.max_corners,
            config.min_distance,
            quality_level=config.quality_level,
            usable=previous.usable,
        )
        return track_between(previous, current, corners, config)


def track_between(previous: Frame, current: Frame, points: Array, config: LucasKanadeConfig) -> Matches:
    """Track points (N, 2) of the previous frame and return the valid ones; the frames may differ in size."""
    height = max(previous.grey.shape[0], current.grey.shape[0])
    width = max(previous.grey.shape[1], current.grey.shape[1])
    tracked, valid = track_points(
        _padded(previous.grey, height, width), _padded(current.grey, height, width), points, config=config
    )
    valid &= np.all(tracked <= (current.grey.shape[1] - 1, current.grey.shape[0] - 1), axis=1)
    valid &= current.are_usable(tracked)
    return Matches(points[valid], tracked[valid])


def _padded(image: Image, height: int, width: int) -> Image:
    """Extend an image at the bottom and on the right, because Lucas-Kanade requires images of equal size."""
    below, right = height - image.shape[0], width - image.shape[1]
    if below == 0 and right == 0:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), dtype=np.uint8)


class SiftFrontEnd:
    """Matches SIFT features (Lowe, 2004) with RootSIFT descriptors (Arandjelovic and Zisserman, 2012)."""

    name = "sift"

    def __init__(self, config: SiftConfig = SiftConfig()) -> None:
        self._config = config
        self._features = FrameCache(self._detect)

    def match(self, previous: Frame, current: Frame) -> Matches:
        """See FrontEnd.match."""
        points_prev, descriptors_prev = self._features(previous)
        points_curr, descriptors_curr = self._features(current)
        if min(len(points_prev), len(points_curr)) < 2:
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)))
        rows, columns = mutual_ratio_matches(descriptors_prev, descriptors_curr, self._config.ratio)
        # SIFT repeats a feature for each of its orientations: keep one match of equal ones.
        pairs = np.hstack([points_prev[rows], points_curr[columns]])
        _, first = np.unique(np.round(pairs, 2), axis=0, return_index=True)
        return Matches(points_prev[rows], points_curr[columns]).chosen(np.sort(first))

    def _detect(self, frame: Frame) -> tuple[Array, NDArray[np.float32]]:
        """Return the points (N, 2) of the features and their descriptors (N, 128)."""
        # Without precise upscaling, features of the finest octave are shifted by a quarter of a pixel.
        sift = cv2.SIFT.create(
            nfeatures=self._config.max_features,
            contrastThreshold=self._config.contrast_threshold,
            enable_precise_upscale=True,
        )
        keypoints, descriptors = sift.detectAndCompute(frame.grey, frame.usable)
        if descriptors is None:
            return np.zeros((0, 2)), np.zeros((0, 128), dtype=np.float32)
        points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float64)
        total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1.0)
        return points, np.sqrt(descriptors / total).astype(np.float32)


def mutual_ratio_matches(
    descriptors_prev: NDArray[np.float32], descriptors_curr: NDArray[np.float32], ratio: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Match descriptors that are mutual nearest neighbours and pass the ratio test in both directions.

    Args:
        descriptors_prev: (N, D), rows of unit length, N >= 2.
        descriptors_curr: (M, D), rows of unit length, M >= 2.
        ratio: maximum ratio of nearest to second nearest distance.

    Returns:
        Row numbers (K,) in ``descriptors_prev`` and in ``descriptors_curr``.
    """
    nearest, is_distinct = _nearest(descriptors_prev @ descriptors_curr.T, ratio)
    rows = np.flatnonzero(is_distinct)
    columns = nearest[rows]
    # Few rows pass the ratio test, so computing the opposite direction for these only is much faster.
    backward, is_distinct = _nearest(descriptors_curr[columns] @ descriptors_prev.T, ratio)
    accepted = (backward == rows) & is_distinct
    return rows[accepted], columns[accepted]


def _nearest(similarity: NDArray[np.float32], ratio: float) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the column of the maximum of each row, and whether it passes the ratio test."""
    rows = np.arange(len(similarity))
    nearest = np.argmax(similarity, axis=1)
    best = similarity[rows, nearest]
    similarity[rows, nearest] = -np.inf
    second = similarity.max(axis=1)
    similarity[rows, nearest] = best
    # |a - b|^2 = 2 - 2 a.b for vectors of unit length.
    return nearest, 1.0 - best < ratio**2 * (1.0 - second)

"""Points followed from the last keyframe, frame by frame, into the current one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.estimators.matching.features import LucasKanadeConfig, detect_corners, track_points
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.track_geometry import TrackedRays
from iup_pose_ros.types import Frame, Matches

Ids = NDArray[np.int64]

# Between neighbouring frames a small patch is followed as safely as a large one and is distorted less.
_PATCH = LucasKanadeConfig(window=15)
# Corners keep this share of the distance they would have on a regular grid.
_SPREAD = 0.4
_MIN_DISTANCE = 3.0
_QUALITY = 0.003
# So many times the corners wanted are found and then drawn evenly from so many cells of the image.
_CANDIDATES = 4
_CELLS = 48
# Standard deviation in grey levels.
_MIN_CONTRAST = 4.0


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points seen in a keyframe and, row by row, in the latest frame. Nothing here changes in place.

    Attributes:
        keyframe: where the rows start.
        latest: the last frame into which they were followed.
        ids: (N,) numbers that stay with a point over keyframes; ascending.
        points_keyframe: (N, 2) pixels.
        points_latest: (N, 2) pixels.
        started: number of rows that the keyframe began with.
        keyframe_id: number of the keyframe.
    """

    keyframe: Frame
    latest: Frame
    ids: Ids
    points_keyframe: Array
    points_latest: Array
    started: int
    keyframe_id: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def matches(self) -> Matches:
        """Matches between keyframe and latest frame."""
        return Matches(self.points_keyframe, self.points_latest)

    @cached_property
    def rays(self) -> TrackedRays:
        """The matches as viewing rays."""
        return TrackedRays.of(self.ids, self.matches, self.keyframe.intrinsics)

    @property
    def fraction(self) -> float:
        """Share of the keyframe's rows that survive; 0 where it had none."""
        return len(self) / self.started if self.started else 0.0

    @property
    def median_motion(self) -> float:
        """Median motion since the keyframe in pixels; at least one row is needed."""
        return float(np.median(np.linalg.norm(self.points_latest - self.points_keyframe, axis=1)))

    @property
    def interval(self) -> float:
        """Seconds from the keyframe to the latest frame."""
        return self.latest.stamp - self.keyframe.stamp

    def fits(self, frame: Frame) -> bool:
        """Whether ``frame`` comes from the same camera in the same resolution."""
        return frame.intrinsics == self.keyframe.intrinsics and frame.frame_id == self.keyframe.frame_id

    def advanced(self, frame: Frame) -> Tracks:
        """The rows that can be followed from the latest frame into ``frame``."""
        points, valid = track_points(self.latest.grey, frame.grey, self.points_latest, config=_PATCH)
        return replace(
            self,
            latest=frame,
            ids=self.ids[valid],
            points_keyframe=self.points_keyframe[valid],
            points_latest=points[valid],
        )

    def kept(self, rows: NDArray[np.bool_]) -> Tracks:
        """The chosen rows (N,) only."""
        return replace(
            self,
            ids=self.ids[rows],
            points_keyframe=self.points_keyframe[rows],
            points_latest=self.points_latest[rows],
        )

    def at_rest(self, stamp: float) -> Tracks:
        """The same tracks of a camera that has not moved up to ``stamp``: its keyframe is as recent."""
        return replace(self, keyframe=replace(self.keyframe, stamp=stamp))


class Tracker:
    """Makes keyframes: numbers them and their points, and finds new points.

    Args:
        maximum: most points of a keyframe; may change.

    Attributes:
        keyframes: number of keyframes made so far.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.keyframes = 0
        self._next_id = 0

    def begin(self, frame: Frame) -> Tracks:
        """A keyframe that continues nothing."""
        none = np.zeros((0, 2))
        return self.renew(Tracks(frame, frame, np.zeros(0, dtype=np.int64), none, none, 0, -1))

    def renew(self, tracks: Tracks) -> Tracks:
        """The latest frame as a new keyframe: rows go on, new corners fill the gaps between them."""
        self.keyframes += 1
        return self._replenished(tracks, self.keyframes - 1)

    def renew_in_place(self, tracks: Tracks) -> Tracks:
        """As ``renew`` for a camera that has not moved: the keyframe keeps its number."""
        return self._replenished(tracks, tracks.keyframe_id)

    def _replenished(self, tracks: Tracks, keyframe_id: int) -> Tracks:
        image = tracks.latest.grey
        distance = max(_MIN_DISTANCE, _SPREAD * math.sqrt(image.size / self.maximum))
        wanted = max(self.maximum - len(tracks), 0)
        corners = detect_corners(image, _CANDIDATES * wanted, distance, tracks.points_latest, _QUALITY)
        corners = corners[
            evenly_spread(corners, tracks.points_latest, math.sqrt(image.size / _CELLS))[:wanted]
        ]
        new_ids = np.arange(self._next_id, self._next_id + len(corners), dtype=np.int64)
        self._next_id += len(corners)
        points = np.vstack([tracks.points_latest, corners])
        ids = np.concatenate([tracks.ids, new_ids])
        return Tracks(tracks.latest, tracks.latest, ids, points, points, len(points), keyframe_id)


def evenly_spread(points: Array, existing: Array, cell: float) -> NDArray[np.intp]:
    """Rows of ``points`` in the order in which to take them so that every cell of the image gets its share.

    Args:
        points: (N, 2) pixels, best first.
        existing: (M, 2) pixels that are taken already.
        cell: side of a cell in pixels.
    """
    cells = np.floor(np.vstack([existing, points]) / cell).astype(np.int64)
    _, numbers = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(numbers.ravel(), kind="stable")
    sizes = np.bincount(numbers.ravel())
    rank = np.empty(len(cells), dtype=np.int64)
    rank[order] = np.arange(len(cells)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.argsort(rank[len(existing) :], kind="stable")


def is_low_texture(frame: Frame) -> bool:
    """Whether an image shows next to nothing: black, white or fog, apart from noise."""
    return float(np.std(frame.grey)) < _MIN_CONTRAST

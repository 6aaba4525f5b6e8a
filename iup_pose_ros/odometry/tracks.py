"""Points tracked from the last keyframe, frame by frame, into the current frame."""

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

# Between consecutive frames a small patch is tracked as reliably as a large one and is distorted less.
_PATCH = LucasKanadeConfig(window=15)
# Minimum distance of corners as a share of the spacing of a regular grid of as many.
_SPREAD = 0.4
_MIN_DISTANCE = 3.0
_QUALITY = 0.003
# Detected candidates per wanted corner, and number of image cells over which corners are distributed evenly.
_CANDIDATES = 4
_CELLS = 48
# Minimum standard deviation of the grey levels.
_MIN_CONTRAST = 4.0
# Minimum cosine of the angle between a predicted ray and the optical axis.
_MIN_AHEAD = 0.1


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points seen in a keyframe and, row by row, in the latest frame; immutable.

    Attributes:
        keyframe: frame in which the tracks start.
        latest: last frame into which they were tracked.
        ids: (N,) ids of the tracks, which stay the same over keyframes; ascending.
        points_keyframe: (N, 2) pixels.
        points_latest: (N, 2) pixels.
        started: number of tracks that the keyframe started with.
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
        """Share of the keyframe's tracks that survive; 0 if it had none."""
        return len(self) / self.started if self.started else 0.0

    @property
    def median_motion(self) -> float:
        """Median motion since the keyframe as a fraction of the image width; requires at least one track."""
        motion = np.linalg.norm(self.points_latest - self.points_keyframe, axis=1)
        return float(np.median(motion)) / self.latest.intrinsics.width

    @property
    def interval(self) -> float:
        """Seconds from the keyframe to the latest frame."""
        return self.latest.stamp - self.keyframe.stamp

    def fits(self, frame: Frame) -> bool:
        """Return whether ``frame`` has the camera frame and intrinsics of the keyframe."""
        return frame.intrinsics == self.keyframe.intrinsics and frame.frame_id == self.keyframe.frame_id

    def advanced(self, frame: Frame, R_latest_frame: Array | None = None) -> Tracks:
        """Return the tracks that continue from the latest frame into ``frame``.

        Args:
            frame: the next frame.
            R_latest_frame: (3, 3) predicted rotation of the camera, which gives the initial positions; None:
                they are those in the latest frame.
        """
        initial = None
        if R_latest_frame is not None:
            camera = frame.intrinsics
            turned = camera.rays(self.points_latest) @ R_latest_frame
            ahead = turned[:, 2:] > _MIN_AHEAD * np.linalg.norm(turned, axis=1, keepdims=True)
            initial = np.where(ahead, camera.project(np.where(ahead, turned, 1.0)), self.points_latest)
        points, valid = track_points(self.latest.grey, frame.grey, self.points_latest, initial, _PATCH)
        valid &= frame.are_usable(points)
        return replace(
            self,
            latest=frame,
            ids=self.ids[valid],
            points_keyframe=self.points_keyframe[valid],
            points_latest=points[valid],
        )

    def kept(self, rows: NDArray[np.bool_]) -> Tracks:
        """Return only the chosen tracks (N,)."""
        return replace(
            self,
            ids=self.ids[rows],
            points_keyframe=self.points_keyframe[rows],
            points_latest=self.points_latest[rows],
        )

    def at_rest(self, stamp: float) -> Tracks:
        """Return the same tracks with ``stamp`` as the keyframe's stamp, for a camera at rest."""
        return replace(self, keyframe=replace(self.keyframe, stamp=stamp))


class Tracker:
    """Creates keyframes: numbers them and their tracks, and detects new corners.

    Args:
        maximum: maximum number of tracks of a keyframe; may change.

    Attributes:
        keyframes: number of keyframes so far.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.keyframes = 0
        self._next_id = 0
        self._avoided = np.zeros((0, 2))

    def avoid(self, points: Array) -> None:
        """Detect no corners near these points (N, 2) of the image, the latest ``maximum`` of all."""
        self._avoided = np.vstack([self._avoided, points])[-self.maximum :]

    def begin(self, frame: Frame) -> Tracks:
        """Return a keyframe without continued tracks."""
        none = np.zeros((0, 2))
        return self.renew(Tracks(frame, frame, np.zeros(0, dtype=np.int64), none, none, 0, -1))

    def renew(self, tracks: Tracks) -> Tracks:
        """Return the latest frame as a new keyframe: tracks continue, new corners fill the gaps."""
        self.keyframes += 1
        return self._replenished(tracks, self.keyframes - 1)

    def renew_in_place(self, tracks: Tracks) -> Tracks:
        """Return the latest frame as ``renew`` does, but keep the number of the keyframe (camera at rest)."""
        return self._replenished(tracks, tracks.keyframe_id)

    def _replenished(self, tracks: Tracks, keyframe_id: int) -> Tracks:
        """Return tracks that start in the latest frame, filled up with new corners to the maximum."""
        image = tracks.latest.grey
        distance = max(_MIN_DISTANCE, _SPREAD * math.sqrt(image.size / self.maximum))
        wanted = max(self.maximum - len(tracks), 0)
        corners = detect_corners(
            image,
            _CANDIDATES * wanted,
            distance,
            np.vstack([tracks.points_latest, self._avoided]),
            _QUALITY,
            tracks.latest.usable,
        )
        corners = corners[
            evenly_spread(corners, tracks.points_latest, math.sqrt(image.size / _CELLS))[:wanted]
        ]
        new_ids = np.arange(self._next_id, self._next_id + len(corners), dtype=np.int64)
        self._next_id += len(corners)
        points = np.vstack([tracks.points_latest, corners])
        ids = np.concatenate([tracks.ids, new_ids])
        return Tracks(tracks.latest, tracks.latest, ids, points, points, len(points), keyframe_id)


def evenly_spread(points: Array, existing: Array, cell: float) -> NDArray[np.intp]:
    """Return the rows of ``points`` in an order that fills the cells of the image evenly.

    Args:
        points: (N, 2) pixels, best first.
        existing: (M, 2) pixels of the points that are already in use.
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
    """Return whether the contrast of an image is too low to track: black, white or fog, apart from noise."""
    grey = frame.grey if frame.mask is None else frame.grey[frame.mask == 0]
    return grey.size == 0 or float(np.std(grey)) < _MIN_CONTRAST

"""Reader of training scenes: photographs with known poses and sparse true matches.

A scene is a folder with a ``pairs.csv`` (see ``datasets.pairs_folder``), its images and a ``matches.npz``:
``xy`` (N, 2) pixels and ``depth`` (N,) are observations of reconstructed points in single images; with
``s, e = pair_start[k:k + 2]``, the observations ``idx0[s:e]`` and ``idx1[s:e]`` are the same points in image
0 and in image 1 of row k of ``pairs.csv``.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.files import need
from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.errors import DataError

_ARRAYS = ("xy", "depth", "pair_start", "idx0", "idx1")


@dataclass(frozen=True, eq=False)
class PointMatches:
    """N points that are visible in both views of a pair.

    Attributes:
        pixels_0, pixels_1: (N, 2) float32 columns and rows, origin at the centre of the top-left pixel.
        depth_0, depth_1: (N,) float32, along the optical axis of each camera, in the unit of the pair's t.
    """

    pixels_0: NDArray[np.float32]
    pixels_1: NDArray[np.float32]
    depth_0: NDArray[np.float32]
    depth_1: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.depth_0)

    def swapped(self) -> PointMatches:
        """Return the matches of the pair with its views exchanged."""
        return PointMatches(self.pixels_1, self.pixels_0, self.depth_1, self.depth_0)

    def chosen(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> PointMatches:
        """Return the matches at an index or where a mask is true."""
        return PointMatches(
            self.pixels_0[index], self.pixels_1[index], self.depth_0[index], self.depth_1[index]
        )


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """A pair of photographs with its true matches."""

    pair: DataSetPair
    matches: PointMatches


def load_matched_scenes(folder: Path) -> list[list[MatchedPair]]:
    """Read the pairs of all scenes in a folder, sorted by the name of the scene.

    Raises:
        DataError: the folder has no scene, or a file of a scene is missing or inconsistent.
    """
    scenes = sorted(path.parent for path in folder.glob("*/pairs.csv"))
    if not scenes:
        raise DataError(f"{folder} has no scene; folders with a pairs.csv and a matches.npz are required")
    return [load_matched_scene(scene) for scene in scenes]


def load_matched_scene(folder: Path) -> list[MatchedPair]:
    """Read the pairs of one scene in the order of its pairs.csv.

    Raises:
        DataError: a file is missing or inconsistent.
    """
    pairs = load_pairs_folder(folder)
    file = need(folder / "matches.npz", "true matches of image pairs")
    try:
        with np.load(file, allow_pickle=False) as stored:
            xy, depth, start, rows_0, rows_1 = (stored[name] for name in _ARRAYS)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} does not contain the arrays {', '.join(_ARRAYS)}: {error}") from error
    if len(start) != len(pairs) + 1 or start[-1] != len(rows_0) or len(rows_0) != len(rows_1):
        raise DataError(
            f"{file} has matches of {len(start) - 1} pairs, {len(rows_0)} and {len(rows_1)} rows; "
            f"pairs.csv has {len(pairs)} pairs"
        )
    matches = PointMatches(xy[rows_0], xy[rows_1], depth[rows_0], depth[rows_1])
    parts = [slice(*start[k : k + 2]) for k in range(len(pairs))]
    return [
        MatchedPair(pair, matches.chosen(np.arange(len(rows_0))[part]))
        for pair, part in zip(pairs, parts, strict=True)
    ]

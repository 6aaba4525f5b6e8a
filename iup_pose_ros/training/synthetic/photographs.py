"""Photographs for textures: those of a folder or those in scikit-image."""

from __future__ import annotations

import functools
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from iup_pose_ros.demo_scene.materials import photographs as packaged_photographs
from iup_pose_ros.errors import DataError
from iup_pose_ros.training.synthetic.scenes import check_split
from iup_pose_ros.types import Picture

_SUFFIXES = (".jpg", ".jpeg", ".png")
_TRAIN_FRACTION = 0.9  # of the photographs of each source, in the order of their names


class Photographs:
    """A collection of photographs to sample from; files are read on demand.

    Args:
        folder: images named ``<source>_<index>``; None: the photographs of scikit-image.
        split: ``train``, ``heldout`` (the last tenth of each source by name, because consecutive photographs
            may show the same place) or ``all``.
        cache: maximum number of decoded photographs in memory.

    Raises:
        ConfigurationError: the split is unknown.
        DataError: the folder has no photograph of this split.
    """

    def __init__(self, folder: Path | None, split: str = "train", cache: int = 64) -> None:
        check_split(split)
        self._files = [] if folder is None else photograph_files(folder, split)
        self._packaged = list(packaged_photographs().values()) if folder is None else []
        self._read = functools.lru_cache(maxsize=cache)(_read)

    def __len__(self) -> int:
        return len(self._files) or len(self._packaged)

    def draw(self, rng: np.random.Generator, count: int) -> list[Picture]:
        """Draw ``count`` photographs (H, W, 3) RGB, without replacement if there are enough."""
        chosen = rng.choice(len(self), count, replace=count > len(self))
        if self._packaged:
            return [self._packaged[i] for i in chosen]
        return [self._read(self._files[i]) for i in chosen]


def photograph_files(folder: Path, split: str) -> list[Path]:
    """Return the files of a split; see ``Photographs``."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    selected: list[Path] = []
    for _, group in groupby(files, key=lambda path: path.stem.rpartition("_")[0]):
        members = list(group)
        first_heldout = int(np.ceil(_TRAIN_FRACTION * len(members)))
        selected += {"train": members[:first_heldout], "heldout": members[first_heldout:], "all": members}[
            split
        ]
    if not selected:
        raise DataError(f"{folder} has {len(files)} photographs (jpg, png), none of them of split {split!r}")
    return selected


def _read(path: Path) -> Picture:
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if decoded is None:
        raise DataError(f"{path} is not a readable image")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)

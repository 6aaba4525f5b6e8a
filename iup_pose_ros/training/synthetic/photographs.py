"""Photographs as textures: those of a folder, or the few inside scikit-image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from iup_pose_ros.demo_scene.materials import photographs as packaged_photographs
from iup_pose_ros.errors import DataError
from iup_pose_ros.training.synthetic.scenes import check_split
from iup_pose_ros.types import Picture

_SUFFIXES = (".jpg", ".jpeg", ".png")
_HELDOUT_TENTH = 0.9  # of every source, the last tenth in name order is held out


class Photographs:
    """Photographs to draw from; files are read when they are asked for.

    Args:
        folder: with images named ``<source>_<index>``; None: the photographs of scikit-image.
        split: ``train``, ``heldout`` (of each source, the last tenth by name: neighbours may show the same
            place) or ``all``.
        cache: how many decoded photographs are kept.

    Raises:
        ConfigurationError: there is no such split.
        DataError: the folder has no photograph of this split.
    """

    def __init__(self, folder: Path | None, split: str = "train", cache: int = 64) -> None:
        check_split(split)
        self._files = [] if folder is None else _files(folder, split)
        self._packaged = list(packaged_photographs().values()) if folder is None else []
        self._read = functools.lru_cache(maxsize=cache)(_read)

    def __len__(self) -> int:
        return len(self._files) or len(self._packaged)

    def draw(self, rng: np.random.Generator, count: int) -> list[Picture]:
        """``count`` photographs (H, W, 3) RGB, different ones while they last."""
        chosen = rng.choice(len(self), count, replace=count > len(self))
        if self._packaged:
            return [self._packaged[i] for i in chosen]
        return [self._read(self._files[i]) for i in chosen]


def _files(folder: Path, split: str) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    chosen = found if split == "all" else _part(found, split == "heldout")
    if not chosen:
        raise DataError(f"{folder} has {len(found)} photographs (jpg, png), none of them of split {split!r}")
    return chosen


def _part(files: Sequence[Path], heldout: bool) -> list[Path]:
    chosen: list[Path] = []
    for _, group in groupby(files, key=lambda path: path.stem.rpartition("_")[0]):
        members = list(group)
        border = int(np.ceil(_HELDOUT_TENTH * len(members)))
        chosen += members[border:] if heldout else members[:border]
    return chosen


def _read(path: Path) -> Picture:
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if decoded is None:
        raise DataError(f"{path} is not a readable image")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)

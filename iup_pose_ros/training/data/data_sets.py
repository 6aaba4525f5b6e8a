"""Data sets on disk as part of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from iup_pose_ros.datasets.euroc import load_euroc
from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.datasets.kitti import load_kitti
from iup_pose_ros.datasets.megadepth import load_megadepth
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.datasets.scannet import load_scannet
from iup_pose_ros.datasets.sequence_pairs import sequence_pairs
from iup_pose_ros.datasets.tum import load_tum
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.validation import did_you_mean


@dataclass(frozen=True)
class DataSetConfig:
    """A data set in its published layout.

    Attributes:
        layout: ``megadepth``, ``scannet``, ``tum``, ``kitti``, ``euroc`` or ``pairs`` (a pairs.csv).
        folder: folder of the data set; for KITTI the one with ``sequences`` and ``poses``.
        share: share of batches, relative to the other data sets and rendered pairs.
        index: megadepth: scene_info file or folder of such files; scannet: index of pairs.
        intrinsics: scannet: file of camera matrices.
        sequences: kitti: sequence names of two digits.
        overlap: megadepth, scannet: minimum overlap of a pair.
        pairs: number of pairs per batch.
    """

    layout: str
    folder: Path
    share: float = 1.0
    index: Path | None = None
    intrinsics: Path | None = None
    sequences: tuple[str, ...] = ()
    overlap: float = 0.1
    pairs: int = 16

    def __post_init__(self) -> None:
        if self.layout not in _LOADERS:
            raise ConfigurationError(
                f"unknown layout {self.layout!r}; {did_you_mean(self.layout, _LOADERS)} "
                f"accepted: {', '.join(_LOADERS)}"
            )
        missing = [name for name in _NEEDED.get(self.layout, ()) if not getattr(self, name)]
        if missing:
            raise ConfigurationError(f"a data set of layout {self.layout} requires the setting {missing[0]}")

    def load(self) -> list[DataSetPair]:
        """Load the pairs.

        Raises:
            DataError: files are missing or have another layout.
        """
        return _LOADERS[self.layout](self)


_LOADERS: Mapping[str, Callable[[DataSetConfig], list[DataSetPair]]] = {
    "megadepth": lambda config: load_megadepth(
        config.folder, config.index or config.folder, (config.overlap, 1.0)
    ),
    "scannet": lambda config: load_scannet(
        config.folder, config.index or config.folder, config.intrinsics or config.folder, config.overlap
    ),
    "tum": lambda config: sequence_pairs(load_tum(config.folder), name=config.folder.name),
    "kitti": lambda config: [
        pair
        for sequence in config.sequences
        for pair in sequence_pairs(load_kitti(config.folder, sequence), name=f"kitti_{sequence}")
    ],
    "euroc": lambda config: sequence_pairs(load_euroc(config.folder), name=config.folder.name),
    "pairs": lambda config: load_pairs_folder(config.folder),
}
_NEEDED = {"megadepth": ("index",), "scannet": ("index", "intrinsics"), "kitti": ("sequences",)}

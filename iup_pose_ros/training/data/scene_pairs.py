"""Stream of batches of photograph pairs with sparse true matches; all scenes have the same probability."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.matched_scenes import MatchedPair, PointMatches, load_matched_scenes
from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.training.data.batch_stream import Batches, BatchStream
from iup_pose_ros.training.data.batches import ClusterBatch
from iup_pose_ros.training.data.cluster import Cluster
from iup_pose_ros.training.data.photometric import PhotometricConfig
from iup_pose_ros.types import Picture

_CROPS = 5  # number of attempts before the maximum crop is used


@dataclass(frozen=True)
class ScenePairsConfig:
    """Photographs and their crops.

    Attributes:
        folder: folder of the scenes (``datasets.matched_scenes``).
        share: share of batches, relative to rendered ones and those of data sets.
        sizes: image sizes (width, height) in pixels. Images are cropped to the size with the aspect ratio
            nearest to that of the pair's first image; the pairs of a batch have the same size.
        pairs: number of pairs per batch.
        crop: minimum width of a crop, relative to the maximum crop of its aspect ratio.
        flip: probability that a pair is mirrored horizontally.
        matches: maximum number of true matches of a pair.
        min_matches: minimum number of matches in a crop; other crops are sampled again.
        seed: random seed.
    """

    folder: Path
    share: float = 1.0
    sizes: tuple[tuple[int, int], ...] = ((480, 352),)
    pairs: int = 8
    crop: float = 0.7
    flip: float = 0.5
    matches: int = 128
    min_matches: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.matches < 1 or not self.sizes:
            raise ConfigurationError("a batch requires at least one pair, one match and one size")
        if not (0.0 < self.crop <= 1.0 and 0.0 <= self.flip <= 1.0):
            raise ConfigurationError(
                f"crop is {self.crop}, flip is {self.flip}; "
                "accepted: crop above 0 and up to 1, flip from 0 to 1"
            )


@dataclass(frozen=True, eq=False)
class _Photographs:
    """Pair of images (H, W, 3) with cameras, pose and matches."""

    images: tuple[Picture, Picture]
    cameras: tuple[Intrinsics, Intrinsics]
    T_1_0: Pose
    matches: PointMatches

    def swapped(self) -> _Photographs:
        return _Photographs(
            self.images[::-1], self.cameras[::-1], self.T_1_0.inverse(), self.matches.swapped()
        )

    def mirrored(self) -> _Photographs:
        """Return the views of the mirrored scene: x becomes -x in both cameras."""
        first, second = (replace(camera, cx=camera.width - 1 - camera.cx) for camera in self.cameras)
        mirror = np.diag([-1.0, 1.0, 1.0])
        T_1_0 = Pose(mirror @ self.T_1_0.rotation @ mirror, mirror @ self.T_1_0.translation)
        matches = replace(
            self.matches,
            pixels_0=_mirrored_pixels(self.matches.pixels_0, first.width),
            pixels_1=_mirrored_pixels(self.matches.pixels_1, second.width),
        )
        images = (self.images[0][:, ::-1].copy(), self.images[1][:, ::-1].copy())
        return _Photographs(images, (first, second), T_1_0, matches)


class ScenePairs(BatchStream):
    """Endless stream of clusters of two views with ``matches``; only the pair (view 0, view 1) is valid.

    Batch n depends on the files, the configuration and n only. Regimes are "photographs".

    Args:
        config: photographs and their crops.
        photometric: photometric augmentation; None: no augmentation.
        start, rank, world_size: see ``BatchStream``.

    Raises:
        DataError: files of a scene are missing or inconsistent; on iteration, an image is missing.
    """

    def __init__(
        self,
        config: ScenePairsConfig,
        photometric: PhotometricConfig | None = None,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(start, rank, world_size)
        self._config, self._photometric = config, photometric
        # Pairs by the size with the nearest aspect ratio, and by scene.
        self._scenes: dict[tuple[int, int], list[list[MatchedPair]]] = {}
        for scene in load_matched_scenes(config.folder):
            parts: dict[tuple[int, int], list[MatchedPair]] = {}
            for pair in scene:
                image = pair.pair.images[0]
                width, height = image.size or image.load().image.shape[1::-1]
                log_aspects = [np.log(size[0] * height / (size[1] * width)) for size in config.sizes]
                nearest = config.sizes[int(np.argmin(np.abs(log_aspects)))]
                parts.setdefault(nearest, []).append(pair)
            for size, part in parts.items():
                self._scenes.setdefault(size, []).append(part)

    @contextmanager
    def opened(self) -> Iterator[Batches]:
        yield self.batch

    def batch(self, index: int) -> ClusterBatch:
        """Return batch ``index``, of one size and, if possible, of different scenes."""
        config = self._config
        rng = np.random.default_rng([config.seed, 3, index])
        sizes = list(self._scenes)
        weights = np.array([len(self._scenes[size]) for size in sizes], dtype=np.float64)
        size = sizes[rng.choice(len(sizes), p=weights / weights.sum())]
        scenes = self._scenes[size]
        chosen = rng.choice(len(scenes), config.pairs, replace=config.pairs > len(scenes))
        pairs = [scenes[i][rng.integers(len(scenes[i]))] for i in chosen]
        return ClusterBatch.from_clusters([self._cluster(pair, size, rng) for pair in pairs], index)

    def _cluster(self, pair: MatchedPair, size: tuple[int, int], rng: np.random.Generator) -> Cluster:
        config = self._config
        first, second = (image.load() for image in pair.pair.images)
        views = _Photographs(
            (first.image, second.image),
            (first.intrinsics, second.intrinsics),
            pair.pair.T_1_0,
            pair.matches,
        )
        if rng.random() < 0.5:
            views = views.swapped()
        views = _cropped(views, size, config, rng)
        if rng.random() < config.flip:
            views = views.mirrored()
        images = np.stack(views.images)
        if self._photometric is not None:
            images = self._photometric.augment_cluster(images, rng)
        kept = rng.permutation(len(views.matches))[: config.matches]
        return Cluster(
            images=images,
            K=np.stack([camera.matrix for camera in views.cameras]),
            T_world_camera=np.stack([np.eye(4), views.T_1_0.inverse().matrix]),
            depth=np.zeros(images.shape[:3], np.float32),
            overlap=np.array([[1.0, pair.pair.overlap], [pair.pair.overlap, 1.0]]),
            valid=np.array([[False, True], [False, False]]),
            regime="photographs",
            scene=pair.pair.name,
            metric=pair.pair.metric,
            matches=views.matches.chosen(kept),
        )


def _cropped(
    views: _Photographs, size: tuple[int, int], config: ScenePairsConfig, rng: np.random.Generator
) -> _Photographs:
    """Crop both views to random windows; to maximum windows if these have too few matches."""
    for attempt in range(_CROPS + 1):
        minimum = config.crop if attempt < _CROPS else 1.0
        windows = [_window(camera, size, minimum, rng) for camera in views.cameras]
        inside = np.logical_and(
            _inside(views.matches.pixels_0, windows[0]), _inside(views.matches.pixels_1, windows[1])
        )
        if inside.sum() >= config.min_matches:
            break
    matches = views.matches.chosen(inside)
    matches = replace(
        matches,
        pixels_0=_moved_pixels(matches.pixels_0, windows[0], size),
        pixels_1=_moved_pixels(matches.pixels_1, windows[1], size),
    )
    images, cameras = [], []
    for image, camera, window in zip(views.images, views.cameras, windows, strict=True):
        left, top, width, height = window
        interpolation = cv2.INTER_AREA if width > size[0] else cv2.INTER_LINEAR
        part = image[top : top + height, left : left + width]
        images.append(np.asarray(cv2.resize(part, size, interpolation=interpolation), dtype=np.uint8))
        cameras.append(camera.cropped(*window).resized(*size))
    return _Photographs((images[0], images[1]), (cameras[0], cameras[1]), views.T_1_0, matches)


Window = tuple[int, int, int, int]  # left, top, width, height


def _window(camera: Intrinsics, size: tuple[int, int], minimum: float, rng: np.random.Generator) -> Window:
    """Sample a window of the aspect ratio of ``size``, at least ``minimum`` times the maximum width."""
    aspect = size[0] / size[1]
    scale = rng.uniform(minimum, 1.0)
    width = max(1, round(scale * min(camera.width, camera.height * aspect)))
    height = max(1, min(camera.height, round(width / aspect)))
    left, top = rng.integers(camera.width - width + 1), rng.integers(camera.height - height + 1)
    return int(left), int(top), width, height


def _inside(pixels: NDArray[np.float32], window: Window) -> NDArray[np.bool_]:
    left, top, width, height = window
    offset = pixels - (left, top)
    return np.asarray(((offset > -0.5) & (offset < (width - 0.5, height - 0.5))).all(axis=1))


def _moved_pixels(pixels: NDArray[np.float32], window: Window, size: tuple[int, int]) -> NDArray[np.float32]:
    left, top, width, height = window
    scale = (size[0] / width, size[1] / height)
    return np.asarray((pixels - (left, top) + 0.5) * scale - 0.5, dtype=np.float32)


def _mirrored_pixels(pixels: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    return np.stack([width - 1 - pixels[:, 0], pixels[:, 1]], axis=1)

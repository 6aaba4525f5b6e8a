"""Stream of batches of pairs of data sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair, LoadedImage, resized_depth
from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.data.batch_stream import Batches, BatchStream
from iup_pose_ros.training.data.batches import ClusterBatch
from iup_pose_ros.training.data.cluster import Cluster
from iup_pose_ros.training.data.photometric import PhotometricConfig


@dataclass(frozen=True)
class StreamConfig:
    """Settings of batches of pairs.

    Attributes:
        sizes: image sizes (width, height), sampled per batch. Images are cropped to the aspect ratio.
        pairs: number of pairs per batch.
        photometric: photometric augmentation; None: no augmentation.
        shuffle: whether to shuffle the pairs in every epoch.
        seed: random seed.
    """

    sizes: tuple[tuple[int, int], ...] = ((160, 128),)
    pairs: int = 16
    photometric: PhotometricConfig | None = None
    shuffle: bool = True
    seed: int = 0


class PairStream(BatchStream):
    """Endless stream of clusters of two views, the images of a pair; both orders are valid pairs.

    Batch n depends on the list, the configuration and n only; ``start``, ``rank`` and ``world_size`` as in
    ``BatchStream``. Regimes are "dataset", scenes are the names of the pairs.

    Raises:
        DataError: the list is empty; on iteration, an image cannot be read.
    """

    def __init__(
        self,
        pairs: Sequence[DataSetPair],
        config: StreamConfig,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(start, rank, world_size)
        if not pairs:
            raise DataError("the list of pairs is empty")
        if config.pairs < 1 or not config.sizes:
            raise ConfigurationError("a batch requires at least one pair and one size")
        self._pairs, self._config = pairs, config
        self._shuffled: tuple[int, NDArray[np.int64]] | None = None

    @contextmanager
    def opened(self) -> Iterator[Batches]:
        yield self.batch

    def batch(self, index: int) -> ClusterBatch:
        """Return batch ``index``."""
        config = self._config
        rng = np.random.default_rng([config.seed, index])
        width, height = config.sizes[rng.integers(len(config.sizes))]
        positions = range(index * config.pairs, (index + 1) * config.pairs)
        clusters = []
        for position in positions:
            epoch, place = divmod(position, len(self._pairs))
            if config.shuffle:
                if self._shuffled is None or self._shuffled[0] != epoch:
                    order = np.random.default_rng([config.seed, 1, epoch])
                    self._shuffled = epoch, order.permutation(len(self._pairs))
                place = int(self._shuffled[1][place])
            cluster = pair_cluster(self._pairs[place], width, height)
            if config.photometric is not None:
                images = config.photometric.augment_cluster(cluster.images, rng)
                cluster = Cluster(**{**vars(cluster), "images": images})
            clusters.append(cluster)
        return ClusterBatch.from_clusters(clusters, index)


def pair_cluster(pair: DataSetPair, width: int, height: int) -> Cluster:
    """Convert a pair to a cluster of two views of width x height; camera 0 is the world frame.

    Raises:
        DataError: an image cannot be read.
    """
    views = [_fitted(image, width, height) for image in pair.images]
    T_0_1 = pair.T_1_0.inverse().matrix
    known = not math.isnan(pair.overlap)
    overlap = np.array([[1.0, pair.overlap], [pair.overlap, 1.0]]) if known else np.full((2, 2), np.nan)
    return Cluster(
        images=np.stack([view.image for view in views]),
        K=np.stack([view.intrinsics.matrix for view in views]),
        T_world_camera=np.stack([np.eye(4), T_0_1]),
        depth=np.stack([view.depth for view in views]),
        overlap=overlap,
        valid=~np.eye(2, dtype=bool),
        regime="dataset",
        scene=pair.name,
        metric=pair.metric,
    )


def _fitted(source: DataSetImage, width: int, height: int) -> LoadedImage:
    """Load an image, crop it around its centre to the aspect ratio and resize it."""
    loaded = source.load()
    aspect = width / height
    columns = min(loaded.intrinsics.width, round(loaded.intrinsics.height * aspect))
    rows = min(loaded.intrinsics.height, round(loaded.intrinsics.width / aspect))
    left, top = (loaded.intrinsics.width - columns) // 2, (loaded.intrinsics.height - rows) // 2
    image = loaded.image[top : top + rows, left : left + columns]
    depth = loaded.depth[top : top + rows, left : left + columns]
    intrinsics = loaded.intrinsics.cropped(left, top, columns, rows).resized(width, height)
    interpolation = cv2.INTER_AREA if columns > width else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    depth = resized_depth(depth, width, height)
    known = np.isfinite(depth) & (depth > 0.0)
    return LoadedImage(
        np.asarray(resized, dtype=np.uint8), intrinsics, np.where(known, depth, np.float32(0.0))
    )

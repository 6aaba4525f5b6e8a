"""An endless, repeatable stream of rendered clusters: batch n depends on the configuration and n only."""

from __future__ import annotations

import atexit
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.data.batch_stream import Batches, BatchStream
from iup_pose_ros.training.data.batches import ClusterBatch
from iup_pose_ros.training.data.cluster import Cluster
from iup_pose_ros.training.data.photometric import PhotometricConfig
from iup_pose_ros.training.synthetic.cluster_renderer import ClusterPainter
from iup_pose_ros.training.synthetic.photographs import Photographs
from iup_pose_ros.training.synthetic.procedural import KINDS, procedural_scene
from iup_pose_ros.training.synthetic.renderer import Renderer, check_size
from iup_pose_ros.training.synthetic.scenes import HELDOUT_SCENES, Scene, check_split, load_scene, scene_files
from iup_pose_ros.training.synthetic.sky import cloudy_sky, pictured_sky
from iup_pose_ros.training.synthetic.view_config import LoadedScene, ViewConfig

_RETRIES = 5  # other scenes tried where one yields no cluster


@dataclass(frozen=True)
class SourceConfig:
    """What is rendered.

    Attributes:
        scenes: folder of scene files (.npz); None: made-up scenes only.
        photographs: folder of images for textures; None: those inside scikit-image.
        split: ``train``, ``heldout`` or ``all``, of scenes and photographs.
        heldout: names of the scenes that training must not see.
        sizes: image sizes (width, height); every batch draws one.
        clusters: clusters in a batch.
        procedural: share of clusters in made-up scenes.
        retextured: share of scene files whose textures are replaced, half of them, by photographs.
        period: batches for which a scene file stays in use, at each place of a batch; made-up scenes stay for
            ``procedural_period``. Loading a scene takes as long as several clusters.
        textures: photographs for a made-up scene.
        resident: scenes kept in memory.
        supersampling: samples per pixel along each axis.
        views: motions, cameras and distractors.
        photometric: what cameras do to the images; None leaves them as rendered.
        seed: of all randomness.
    """

    scenes: Path | None = None
    photographs: Path | None = None
    split: str = "train"
    heldout: tuple[str, ...] = HELDOUT_SCENES
    sizes: tuple[tuple[int, int], ...] = ((160, 128),)
    clusters: int = 8
    procedural: float = 0.4
    retextured: float = 0.3
    period: int = 64
    procedural_period: int = 4
    textures: int = 12
    resident: int = 12
    supersampling: int = 2
    views: ViewConfig = field(default_factory=ViewConfig)
    photometric: PhotometricConfig | None = field(default_factory=PhotometricConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_split(self.split)
        for width, height in self.sizes:
            check_size(width, height)
        least = {"clusters": 1, "period": 1, "procedural_period": 1, "textures": 1, "supersampling": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; at least {value} is needed")
        if not self.sizes:
            raise ConfigurationError("sizes is empty; at least one (width, height) is needed")


class RenderedClusters(BatchStream):
    """Every worker process renders its share with an OpenGL context of its own.

    Args:
        config: what is rendered.
        start, rank, world_size: as ``BatchStream``.

    Raises:
        DataError: a folder has no scene or photograph of the split.
        RendererError: on iteration, where OpenGL cannot be used.
    """

    def __init__(self, config: SourceConfig, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(start, rank, world_size)
        self._config = config
        self._files = (
            [] if config.scenes is None else scene_files(config.scenes, config.split, config.heldout)
        )
        Photographs(config.photographs, config.split)

    @contextmanager
    def opened(self) -> Iterator[Batches]:
        studio = Studio(self._config, self._files)
        try:
            yield studio.batch
        finally:
            studio.close()


def cluster_loader(dataset: BatchStream, workers: int, prefetch: int = 4) -> DataLoader[ClusterBatch]:
    """Batches rendered ahead by worker processes; 0 renders in this process.

    Workers are started afresh, because neither OpenGL nor CUDA survives a fork.
    """
    if workers == 0:
        return DataLoader(dataset, batch_size=None)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context="spawn",
        worker_init_fn=_prepare_worker,
    )


class Studio:
    """Renders any batch of the stream; keeps the scenes it used last."""

    def __init__(self, config: SourceConfig, files: list[Path]) -> None:
        self._config, self._files = config, files
        self._photographs = Photographs(config.photographs, config.split)
        self._renderer = Renderer(config.supersampling)
        self._painter = ClusterPainter(self._renderer, config.views)
        self._scenes: OrderedDict[tuple[int, ...], LoadedScene] = OrderedDict()

    def batch(self, index: int) -> ClusterBatch:
        """Batch ``index``."""
        sizes = self._config.sizes
        width, height = sizes[self._rng(index).integers(len(sizes))]
        places = range(self._config.clusters)
        return ClusterBatch.from_clusters(
            [self._cluster(index, place, width, height) for place in places], index
        )

    def close(self) -> None:
        """Free the scenes and the OpenGL context."""
        for scene in self._scenes.values():
            scene.release()
        self._scenes.clear()
        self._renderer.close()

    def _cluster(self, index: int, place: int, width: int, height: int) -> Cluster:
        for retry in range(_RETRIES):
            rng = self._rng(index, place, retry)
            scene = self._scene(index, place, retry)
            try:
                cluster = self._painter.draw(scene, width, height, rng)
            except DataError:
                continue
            if self._config.photometric is None:
                return cluster
            return replace(cluster, images=self._config.photometric.augment_cluster(cluster.images, rng))
        raise DataError(f"{_RETRIES} scenes yielded no cluster of overlapping views for batch {index}")

    def _scene(self, index: int, place: int, retry: int) -> LoadedScene:
        """The scene at a place of a batch; at other places it changes at other times."""
        config = self._config
        age = index + place * config.period // config.clusters
        epoch, phase = divmod(age, config.period)
        made_up = not self._files or self._rng(place, epoch).random() < config.procedural
        key = (place, retry, epoch, phase // config.procedural_period if made_up else 0)
        if key not in self._scenes:
            rng = self._rng(*key)
            self._keep(key, self._made_up_scene(rng) if made_up else self._file_scene(rng), rng)
        self._scenes.move_to_end(key)
        return self._scenes[key]

    def _keep(self, key: tuple[int, ...], scene: Scene, rng: np.random.Generator) -> None:
        while len(self._scenes) >= max(1, self._config.resident):
            self._scenes.popitem(last=False)[1].release()
        sky = cloudy_sky(rng) if rng.random() < 0.7 else pictured_sky(self._photographs.draw(rng, 6))
        self._scenes[key] = LoadedScene.load(self._renderer, scene, sky)

    def _made_up_scene(self, rng: np.random.Generator) -> Scene:
        kind = list(KINDS)[rng.integers(len(KINDS))]
        return procedural_scene(kind, self._photographs.draw(rng, self._config.textures), rng)

    def _file_scene(self, rng: np.random.Generator) -> Scene:
        path = self._files[rng.integers(len(self._files))]
        photographs = self._photographs.draw(rng, self._config.textures)
        return load_scene(
            path, photographs[:4], photographs[4:] if rng.random() < self._config.retextured else (), rng
        )

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, len(key), *key])


def _prepare_worker(_: int) -> None:
    """One thread, because processes share the cores; and an end that skips finalising the interpreter.

    Finalising kills the thread that sends batches wherever it is; inside torch's C++ code that aborts the
    process, and the loader reports a failed worker.
    """
    import cv2

    cv2.setNumThreads(0)
    os.environ.setdefault("LP_NUM_THREADS", "0")
    atexit.register(os._exit, 0)

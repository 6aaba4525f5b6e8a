"""Infinite reproducible stream of rendered clusters: batch n depends only on the configuration and n."""

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
from iup_pose_ros.training.synthetic.cluster_renderer import ClusterRenderer
from iup_pose_ros.training.synthetic.photographs import Photographs
from iup_pose_ros.training.synthetic.procedural import KINDS, procedural_scene
from iup_pose_ros.training.synthetic.renderer import Renderer, check_size
from iup_pose_ros.training.synthetic.scenes import HELDOUT_SCENES, check_split, load_scene, scene_files
from iup_pose_ros.training.synthetic.sky import cloudy_sky, pictured_sky
from iup_pose_ros.training.synthetic.view_config import LoadedScene, ViewConfig

_MAX_SCENES = 5  # number of scenes to try for a cluster


@dataclass(frozen=True)
class SourceConfig:
    """Configuration of the rendered training data.

    Attributes:
        scenes: folder of scene files (.npz); None: procedural scenes only.
        photographs: folder of images for textures; None: the photographs in scikit-image.
        split: ``train``, ``heldout`` or ``all``; applies to scenes and photographs.
        heldout: names of the scenes that are excluded from training.
        sizes: image sizes (width, height); one is drawn per batch.
        clusters: number of clusters in a batch.
        procedural: fraction of clusters in procedural scenes.
        retextured: fraction of scene files of which half of the textures are replaced by photographs.
        period: number of consecutive batches that use the same scene file, per cluster of a batch, because
            loading a scene takes as long as rendering several clusters.
        procedural_period: the same for procedural scenes.
        textures: number of photographs in a procedural scene.
        resident: maximum number of scenes in memory.
        supersampling: number of samples per pixel along each axis.
        views: distribution of motions, cameras and distractors.
        photometric: photometric augmentation; None: none.
        seed: random seed.

    Raises:
        ConfigurationError: a value is outside its range, or the split is unknown.
        DataError: a size is too small to be rendered.
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
        for name in ("clusters", "period", "procedural_period", "textures", "supersampling"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; at least 1 is required")
        if not self.sizes:
            raise ConfigurationError("sizes is empty; at least one (width, height) is required")


class RenderedClusters(BatchStream):
    """Stream of rendered batches; each worker process has its own OpenGL context.

    Args:
        config: what is rendered.
        start, rank, world_size: see ``BatchStream``.

    Raises:
        DataError: a folder has no scene or photograph of the split.
        RendererError: during iteration, if OpenGL is not available.
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
        """See ``BatchStream.opened``."""
        renderer = BatchRenderer(self._config, self._files)
        try:
            yield renderer.batch
        finally:
            renderer.close()


def cluster_loader(dataset: BatchStream, workers: int, prefetch: int = 4) -> DataLoader[ClusterBatch]:
    """Create a data loader whose worker processes render batches in advance.

    Workers are spawned, because neither OpenGL nor CUDA can be used after a fork.

    Args:
        dataset: stream of batches.
        workers: number of worker processes; 0: render in this process.
        prefetch: number of batches that each worker renders in advance.
    """
    if workers == 0:
        return DataLoader(dataset, batch_size=None)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context="spawn",
        worker_init_fn=prepare_worker,
    )


class BatchRenderer:
    """Renders any batch of the stream, with a cache of the most recently used scenes.

    Args:
        config: what is rendered.
        files: scene files.
    """

    def __init__(self, config: SourceConfig, files: list[Path]) -> None:
        self._config, self._files = config, files
        self._photographs = Photographs(config.photographs, config.split)
        self._renderer = Renderer(config.supersampling)
        self._clusters = ClusterRenderer(self._renderer, config.views)
        self._scenes: OrderedDict[tuple[int, ...], LoadedScene] = OrderedDict()

    def batch(self, index: int) -> ClusterBatch:
        """Render batch ``index``.

        Raises:
            DataError: no cluster with overlapping views was found.
        """
        sizes = self._config.sizes
        width, height = sizes[self._rng(index).integers(len(sizes))]
        places = range(self._config.clusters)
        return ClusterBatch.from_clusters(
            [self._cluster(index, place, width, height) for place in places], index
        )

    def close(self) -> None:
        """Release the scenes and the OpenGL context."""
        for scene in self._scenes.values():
            scene.release()
        self._scenes.clear()
        self._renderer.close()

    def _cluster(self, index: int, place: int, width: int, height: int) -> Cluster:
        for retry in range(_MAX_SCENES):
            rng = self._rng(index, place, retry)
            scene = self._scene(index, place, retry)
            try:
                cluster = self._clusters.render(scene, width, height, rng)
            except DataError:
                continue
            if self._config.photometric is None:
                return cluster
            return replace(cluster, images=self._config.photometric.augment_cluster(cluster.images, rng))
        raise DataError(f"no cluster with overlapping views found in {_MAX_SCENES} scenes for batch {index}")

    def _scene(self, index: int, place: int, retry: int) -> LoadedScene:
        """Return the scene of cluster ``place`` of a batch; scenes of different places change in turn."""
        config = self._config
        age = index + place * config.period // config.clusters
        epoch, phase = divmod(age, config.period)
        procedural = not self._files or self._rng(place, epoch).random() < config.procedural
        key = (place, retry, epoch, phase // config.procedural_period if procedural else 0)
        if key not in self._scenes:
            rng = self._rng(*key)
            if procedural:
                kind = list(KINDS)[rng.integers(len(KINDS))]
                scene = procedural_scene(kind, self._photographs.draw(rng, config.textures), rng)
            else:
                path = self._files[rng.integers(len(self._files))]
                photographs = self._photographs.draw(rng, config.textures)
                replacements = photographs[4:] if rng.random() < config.retextured else ()
                scene = load_scene(path, photographs[:4], replacements, rng)
            while len(self._scenes) >= max(1, config.resident):
                self._scenes.popitem(last=False)[1].release()
            sky = cloudy_sky(rng) if rng.random() < 0.7 else pictured_sky(self._photographs.draw(rng, 6))
            self._scenes[key] = LoadedScene.load(self._renderer, scene, sky)
        self._scenes.move_to_end(key)
        return self._scenes[key]

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, len(key), *key])


def prepare_worker(_: int) -> None:
    """Initialise a worker process: use one thread, and exit without finalising the interpreter.

    Processes share the cores. Finalising would kill the thread that sends batches; inside of torch's C++ code
    this aborts the process, and the loader would report a failed worker.
    """
    import cv2

    cv2.setNumThreads(0)
    os.environ.setdefault("LP_NUM_THREADS", "0")
    atexit.register(os._exit, 0)

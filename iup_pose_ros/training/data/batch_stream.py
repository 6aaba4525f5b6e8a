"""Endless, repeatable streams of batches that several processes and their workers share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.training.data.batches import ClusterBatch

Batches = Callable[[int], ClusterBatch]


class BatchStream(IterableDataset[ClusterBatch], ABC):
    """Batches ``start + rank``, ``start + rank + world_size``, ... of a source of numbered batches.

    The stream is the same for any number of workers, because ``DataLoader`` hands out the batches of its
    workers in turn.

    Args:
        start: first batch; a run that has used n batches goes on with ``start=n`` (``batch.index + 1``).
        rank, world_size: of this process among several that share the stream.
    """

    def __init__(self, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank {rank} must be from 0 to world_size - 1 = {world_size - 1}")
        self._start, self._rank, self._world_size = start, rank, world_size

    @abstractmethod
    def opened(self) -> AbstractContextManager[Batches]:
        """What gives any batch by its number, in the process that calls."""

    def __iter__(self) -> Iterator[ClusterBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self._start + self._rank + number * self._world_size
        with self.opened() as batch:
            while True:
                yield batch(index)
                index += workers * self._world_size


class MixedStream(BatchStream):
    """Every batch from one of several streams, drawn by their shares.

    Args:
        streams: with their shares, which need not sum to 1. Where they start themselves does not matter.
        seed: of the draw; batch n depends on the streams, the shares, the seed and n only.
        start, rank, world_size: as ``BatchStream``.
        group: batches that are used together, such as those of one step of an optimiser: of each group a
            stream gives its share, rounded up or down.

    Raises:
        ConfigurationError: a share is negative, or all are 0.
    """

    def __init__(
        self,
        streams: Sequence[tuple[float, BatchStream]],
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        group: int = 1,
    ) -> None:
        super().__init__(start, rank, world_size)
        shares = np.array([share for share, _ in streams])
        if not (shares >= 0.0).all() or not shares.sum() > 0.0:
            raise ConfigurationError(f"shares {shares.tolist()} must not be negative, nor all 0")
        self._streams = [stream for _, stream in streams]
        self._bounds, self._seed, self._group = (shares / shares.sum()).cumsum(), seed, group

    @contextmanager
    def opened(self) -> Iterator[Batches]:
        with ExitStack() as stack:
            sources = [stack.enter_context(stream.opened()) for stream in self._streams]

            def batch(index: int) -> ClusterBatch:
                return sources[self._source(index)](index)

            yield batch

    def _source(self, index: int) -> int:
        """The stream of a batch: systematic sampling, evenly spaced in the group from one random number."""
        group, place = divmod(index, self._group)
        offset = np.random.default_rng([self._seed, 2, group]).random()
        at = (place + offset) / self._group
        return int(np.searchsorted(self._bounds[:-1], at, side="right"))

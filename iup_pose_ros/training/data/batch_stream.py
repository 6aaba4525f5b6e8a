"""Endless, reproducible streams of batches, divided among processes and their workers."""

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

    The stream does not depend on the number of workers, because ``DataLoader`` returns the batches of its
    workers in turn.

    Args:
        start: index of the first batch; a run resumes after n batches with ``start=n`` (``batch.index + 1``).
        rank, world_size: rank of this process and number of processes.
    """

    def __init__(self, start: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank {rank} must be from 0 to world_size - 1 = {world_size - 1}")
        self._start, self._rank, self._world_size = start, rank, world_size

    @abstractmethod
    def opened(self) -> AbstractContextManager[Batches]:
        """Return a context with a function that returns any batch by its index, in the calling process."""

    def __iter__(self) -> Iterator[ClusterBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self._start + self._rank + number * self._world_size
        with self.opened() as batch:
            while True:
                yield batch(index)
                index += workers * self._world_size


class MixedStream(BatchStream):
    """Stream whose batches come from several streams, sampled by their shares.

    Args:
        streams: shares, which need not sum to 1, and streams, whose own start has no effect.
        seed: random seed; batch n depends on the streams, the shares, the seed and n only.
        start, rank, world_size: see ``BatchStream``.
        group: number of batches that are used together, such as those of one optimizer step. Each group has
            the share of each stream, rounded up or down.

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
            raise ConfigurationError(
                f"shares are {shares.tolist()}; they must not be negative, and not all 0"
            )
        self._streams = [stream for _, stream in streams]
        self._bounds, self._seed, self._group = (shares / shares.sum()).cumsum(), seed, group

    @contextmanager
    def opened(self) -> Iterator[Batches]:
        with ExitStack() as stack:
            sources = [stack.enter_context(stream.opened()) for stream in self._streams]

            def batch(index: int) -> ClusterBatch:
                return sources[self.stream_of(index)](index)

            yield batch

    def stream_of(self, index: int) -> int:
        """Return the index of a batch's stream: systematic sampling with one random offset per group."""
        group, place = divmod(index, self._group)
        offset = np.random.default_rng([self._seed, 2, group]).random()
        at = (place + offset) / self._group
        return int(np.searchsorted(self._bounds[:-1], at, side="right"))

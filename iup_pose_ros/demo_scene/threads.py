"""Control of torch's threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Context in which torch does not split operations; the setting belongs to the whole process.

    Many small operations lose by being split, and lose a hundredfold where the cores are taken, because
    the threads wait for each other after each of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

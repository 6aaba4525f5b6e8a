"""Control of the number of torch threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Set the number of torch threads of this process to one within a context.

    Parallelising many small operations costs more than it gains, and slows them down a hundredfold on busy
    cores, because the threads synchronise after each operation.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

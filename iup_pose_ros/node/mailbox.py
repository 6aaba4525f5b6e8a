"""The one-slot mailbox between subscriptions and worker, and the count of what becomes of every image."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class FrameCounts:
    """Images since activation. Each received one is processed, dropped in one of two ways, or still waits."""

    received: int = 0
    processed: int = 0
    dropped_busy: int = 0
    dropped_invalid: int = 0


class FrameCounter:
    """FrameCounts that several threads increase."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = FrameCounts()

    def add(
        self, received: int = 0, processed: int = 0, dropped_busy: int = 0, dropped_invalid: int = 0
    ) -> None:
        """Increases the counts by the given numbers, all at once."""
        with self._lock:
            counts = self._counts
            self._counts = FrameCounts(
                received=counts.received + received,
                processed=counts.processed + processed,
                dropped_busy=counts.dropped_busy + dropped_busy,
                dropped_invalid=counts.dropped_invalid + dropped_invalid,
            )

    def counts(self) -> FrameCounts:
        """The counts now, consistent with each other."""
        with self._lock:
            return self._counts


class Mailbox(Generic[Item]):
    """Holds the newest item only, so that a slow consumer works on the present and memory stays flat.

    Args:
        counter: told of every item that is replaced before it was taken (``dropped_busy``).
    """

    def __init__(self, counter: FrameCounter) -> None:
        self._counter = counter
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._closed = False

    def put(self, item: Item) -> None:
        """Leaves an item, in place of the one that still waits. A closed mailbox drops it."""
        with self._condition:
            if self._closed or self._item is not None:
                self._counter.add(dropped_busy=1)
            if not self._closed:
                self._item = item
                self._condition.notify()

    def take(self) -> Item | None:
        """Waits for an item and takes it; None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Drops an item that still waits."""
        with self._condition:
            self._drop()

    def close(self) -> None:
        """Wakes the consumer for the last time; an item that still waits is dropped."""
        with self._condition:
            self._closed = True
            self._drop()
            self._condition.notify_all()

    def _drop(self) -> None:
        if self._item is not None:
            self._counter.add(dropped_busy=1)
            self._item = None

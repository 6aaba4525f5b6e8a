"""The thread that processes images, so that callbacks never wait for the estimator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestFrameWorker(Generic[Item]):
    """Call ``handle`` with the newest item in a thread of its own, until stopped.

    At most one item waits, so that latency and memory stay bounded if ``handle`` is slow.

    Args:
        handle: takes an item.
        on_drop: called for every item that is replaced or cleared before it was taken.
        on_error: called with an exception that ``handle`` raises; the thread goes on with the next item.
    """

    def __init__(
        self,
        handle: Callable[[Item], None],
        on_drop: Callable[[], None],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._handle = handle
        self._on_drop = on_drop
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting: Item | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="odometry")
        self._thread.start()

    def put(self, item: Item) -> None:
        """Replace the waiting item by this one. A stopped worker drops it."""
        with self._condition:
            if self._stopped:
                self._on_drop()
                return
            self._drop_waiting()
            self._waiting = item
            self._condition.notify()

    def clear(self) -> None:
        """Drop the waiting item, if there is one."""
        with self._condition:
            self._drop_waiting()

    def stop(self) -> None:
        """Drop the waiting item and return when the thread has finished the current one."""
        with self._condition:
            self._stopped = True
            self._drop_waiting()
            self._condition.notify()
        self._thread.join()

    def _drop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._on_drop()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopped or self._waiting is not None)
                item, self._waiting = self._waiting, None
            if item is None:
                return
            try:
                self._handle(item)
            except Exception as error:  # noqa: BLE001 - later items must still be processed
                self._on_error(error)
            # Otherwise the last image would stay in memory while waiting for the next one.
            del item

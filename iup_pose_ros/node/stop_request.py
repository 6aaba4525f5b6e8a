"""SIGINT and SIGTERM as a request that the process can honour at its own pace. Imports nothing slow."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopRequest:
    """Takes both signals over from its creation on, which must be in the main thread.

    Until ``defer`` a signal ends the process on the spot with exit code 0, as nothing runs yet; afterwards it
    only wakes ``wait``, so that the node can finish the image in hand.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def defer(self) -> None:
        """From now on signals are waited for."""
        self._deferred = True

    def wait(self) -> None:
        """Returns when it is time to stop."""
        self._event.wait()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._deferred:
            raise SystemExit(0)
        self._event.set()

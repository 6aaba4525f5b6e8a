"""Handling of SIGINT and SIGTERM as a stop request. Imports nothing slow."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_WAKING_PERIOD = 0.25  # s


class StopRequest:
    """Handle both signals from construction on, which must be in the main thread.

    Until ``defer`` a signal ends the process immediately with exit code 0, as nothing runs yet; afterwards it
    only wakes ``wait``, so that the node can finish the current image.
    """

    def __init__(self) -> None:
        self._deferred = False
        self._event = threading.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:
            if not self._deferred:
                raise SystemExit(0)
            self._event.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)

    def defer(self) -> None:
        """Make signals wake ``wait`` from now on instead of ending the process."""
        self._deferred = True

    def wait(self) -> None:
        """Block until a stop is requested.

        The kernel may deliver a signal to any thread, for example while the process is stopped, but Python
        handles it in the main thread. Hence this one, which it does not wake, wakes by itself.
        """
        while not self._event.wait(_WAKING_PERIOD):
            pass

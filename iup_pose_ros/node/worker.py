"""The one thread in which images are worked on, so that callbacks never wait for the estimator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic

from iup_pose_ros.node.mailbox import Item, Mailbox


class Worker(Generic[Item]):
    """Hands every item of a mailbox to ``handle``, which must not raise, until stopped."""

    def __init__(self, mailbox: Mailbox[Item], handle: Callable[[Item], None]) -> None:
        self._mailbox = mailbox
        self._handle = handle
        self._thread = threading.Thread(target=self._run, name="odometry")
        self._thread.start()

    def stop(self) -> None:
        """Closes the mailbox and waits for the item in hand."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._mailbox.take()) is not None:
            self._handle(item)
            # Otherwise the last image would be held while waiting for the next one.
            del item

"""Stand-in for ROS 2's message_filters: subscriptions as message sources, and their synchronisation by stamp.

Holds the part of the package that the node uses, with the same signatures and behaviour (Kilted), for
environments without a ROS distribution.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time

__all__ = ["ApproximateTimeSynchronizer", "SimpleFilter", "Subscriber", "TimeSynchronizer"]

NANOSECONDS_PER_SECOND = 1_000_000_000


class SimpleFilter:
    """A source of messages that others connect to."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
        """Calls `cb(message, ..., *args)` for every output; returns the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        """Passes one output on to everyone connected."""
        for callback, arguments in self.callbacks.values():
            callback(*msg, *arguments)


class Subscriber(SimpleFilter):
    """A ROS subscription as a source; further keyword arguments are those of Node.create_subscription."""

    def __init__(
        self, node: Node, msg_type: type, topic: str, /, *, qos_profile: QoSProfile | int = 10, **kwargs: Any
    ) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(msg_type, topic, self.callback, qos_profile, **kwargs)

    def callback(self, msg: Any) -> None:
        self.signalMessage(msg)

    def getTopic(self) -> str:
        return self.topic


class TimeSynchronizer(SimpleFilter):
    """Outputs one message of every source as soon as their stamps are equal.

    Each source keeps its `queue_size` newest messages that wait for partners, one per stamp. Callbacks run
    one after the other, also when the sources are served by several threads.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.lock = threading.Lock()
        self.queues: list[dict[int, Any]] = [
            {} for _ in fs
        ]  # one per source: stamp in nanoseconds -> message
        for index, source in enumerate(fs):
            source.registerCallback(self._receive, index)

    def _receive(self, msg: Any, index: int) -> None:
        stamp = Time.from_msg(msg.header.stamp).nanoseconds
        with self.lock:
            queue = self.queues[index]
            queue[stamp] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            for stamps in self._complete_sets(stamp, index):
                self._output(stamps)

    def _complete_sets(self, stamp: int, index: int) -> Iterator[tuple[int, ...]]:
        """Stamps, one per source, of the sets that the message just received completes."""
        if all(stamp in queue for queue in self.queues):
            yield (stamp,) * len(self.queues)

    def _output(self, stamps: Sequence[int]) -> None:
        messages = [queue.pop(stamp) for queue, stamp in zip(self.queues, stamps, strict=True)]
        self.signalMessage(*messages)


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Outputs one message of every source whose stamps lie less than `slop` seconds apart.

    A message just received is combined with the messages of the other sources that are nearest to it in time.
    """

    def __init__(
        self, fs: Sequence[SimpleFilter], queue_size: int, slop: float, allow_headerless: bool = False
    ) -> None:
        if allow_headerless:
            raise NotImplementedError("this stand-in synchronises only messages with a header")
        super().__init__(fs, queue_size)
        self.slop = int(slop * NANOSECONDS_PER_SECOND)

    def _complete_sets(self, stamp: int, index: int) -> Iterator[tuple[int, ...]]:
        if stamp not in self.queues[index]:
            return
        candidates = [
            [stamp] if other == index else self._nearest_first(queue, stamp)
            for other, queue in enumerate(self.queues)
        ]
        for stamps in itertools.product(*candidates):
            if max(stamps) - min(stamps) < self.slop:
                yield stamps
                return

    def _nearest_first(self, queue: dict[int, Any], stamp: int) -> list[int]:
        near = [other for other in queue if abs(other - stamp) <= self.slop]
        return sorted(near, key=lambda other: abs(other - stamp))

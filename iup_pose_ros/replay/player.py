"""Publication of the messages of a recording, byte for byte, at the recorded rate."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from iup_pose_ros.bags.recording import RecordedMessage


class Player:
    """Publishers for the topics of a recording.

    Args:
        node: the ROS node that publishes.
        types: message class by topic.
        reliable: topics whose subscriptions vo_node starts with best effort and then makes reliable.
    """

    def __init__(self, node: Node, types: Mapping[str, type[Any]], reliable: Collection[str]) -> None:
        self._node = node
        self._reliable = reliable
        # A reliable publisher serves reliable and best-effort subscriptions.
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {topic: node.create_publisher(kind, topic, qos) for topic, kind in types.items()}

    @property
    def is_heard(self) -> bool:
        """Whether every topic has a subscription, those of ``reliable`` a reliable one."""
        return all(publisher.get_subscription_count() > 0 for publisher in self._publishers.values()) and all(
            any(
                info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
                for info in self._node.get_subscriptions_info_by_topic(topic)
            )
            for topic in self._reliable
        )

    def play(
        self, messages: Iterable[RecordedMessage], rate: float
    ) -> Iterator[tuple[RecordedMessage, float]]:
        """Publish the messages at the recorded times; yield each with its time of sending.

        Args:
            messages: in recorded order.
            rate: playback rate, 1 as recorded, 2 twice as fast; 0: as fast as the caller iterates.

        Yields:
            Message and ``time.monotonic()`` of sending.
        """
        start = time.monotonic()
        first: int | None = None
        for message in messages:
            first = message.time if first is None else first
            if rate > 0.0:
                due = start + (message.time - first) * 1e-9 / rate
                time.sleep(max(0.0, due - time.monotonic()))
            sent_at = time.monotonic()
            self._publishers[message.topic].publish(message.data)
            yield message, sent_at

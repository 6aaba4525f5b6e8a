"""The node's subscriptions: images paired with their camera_info, and what to say when they stay away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import message_filters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from iup_pose_ros.node.mailbox import FrameCounter
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.stamps import NANOSECONDS, nanoseconds

# Messages of either kind that wait for their partner.
_SYNC_QUEUE = 10


def image_topic(node: Node, transport: str) -> str:
    """Full name of the image topic; compressed images are on <image>/compressed, as in image_transport."""
    name = node.resolve_topic_name("image")
    suffix = "/compressed"
    return name + suffix if transport == "compressed" and not name.endswith(suffix) else name


class Unpaired:
    """Images that still wait for their camera_info; tells how many never will get it.

    Args:
        limit: so many may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stamps: list[int] = []

    def add(self, stamp: int) -> int:
        """An image came; returns the number of images given up for it."""
        self._stamps.append(stamp)
        return self._give_up(len(self._stamps) - self._limit)

    def pair(self, stamp: int) -> int:
        """The image of this stamp found its partner; returns how many before it never will."""
        position = self._stamps.index(stamp) if stamp in self._stamps else -1
        if position >= 0:
            del self._stamps[position]
        return self._give_up(position)

    def clear(self) -> int:
        """Gives all up and returns their number."""
        return self._give_up(len(self._stamps))

    def _give_up(self, number: int) -> int:
        number = max(number, 0)
        del self._stamps[:number]
        return number


@dataclass
class _Arrivals:
    """When messages last came, seconds of the monotonic clock."""

    image: float
    info: float
    pair: float


class ImageInputs:
    """Subscribes to the images of one camera and to its camera_info.

    Best effort with depth 1 accepts every publisher and never queues; ``qos_overrides`` parameters change it.

    Args:
        node: owner of the subscriptions.
        config: settings.
        counter: told of every image, and of those that never find their camera_info.
        on_pair: called with (image, camera_info) in the executor's thread.
    """

    def __init__(
        self, node: Node, config: NodeConfig, counter: FrameCounter, on_pair: Callable[[Any, Any], None]
    ) -> None:
        self._node = node
        self._counter = counter
        self._on_pair = on_pair
        self._timeout = config.input_timeout
        self._unpaired = Unpaired(_SYNC_QUEUE)
        self._newest_stamp: int | None = None
        now = time.monotonic()
        self._arrivals = _Arrivals(now, now, now)
        self.last_header: Any = None
        self.image_topic = image_topic(node, config.image_transport)
        self.info_topic = node.resolve_topic_name("camera_info")
        image_type = CompressedImage if config.image_transport == "compressed" else Image
        self._image = self._subscribe(image_type, self.image_topic)
        self._info = self._subscribe(CameraInfo, self.info_topic)
        # Registered before the synchroniser, to see a jump in time before the image reaches its queue.
        self._image.registerCallback(self._on_image)
        self._info.registerCallback(self._on_info)
        self._synchronizer = self._synchronize(config.sync_slop)
        self._synchronizer.registerCallback(self._on_both)

    def close(self) -> None:
        """Ends the subscriptions."""
        for subscriber in (self._image, self._info):
            self._node.destroy_subscription(subscriber.sub)

    def complaint(self) -> str:
        """Why images do not reach the odometry, one sentence; empty while they do.

        Images that came and then ended are no complaint: so ends every recording.
        """
        now = time.monotonic()
        silence = {name: now - getattr(self._arrivals, name) for name in ("image", "info", "pair")}
        if silence["pair"] < self._timeout:
            return ""
        if silence["image"] >= self._timeout:
            return "" if self.last_header else self._silent("image", self.image_topic, silence["image"])
        if silence["info"] >= self._timeout:
            return self._silent("camera_info", self.info_topic, silence["info"])
        return (
            f"no camera_info on {self.info_topic} has the stamp of an image on {self.image_topic}; "
            "sync_slop accepts stamps that differ"
        )

    def _subscribe(self, message_type: Any, topic: str) -> message_filters.Subscriber:
        return message_filters.Subscriber(
            self._node,
            message_type,
            topic,
            qos_profile=QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _synchronize(self, slop: float) -> message_filters.TimeSynchronizer:
        filters = [self._image, self._info]
        if slop > 0.0:
            return message_filters.ApproximateTimeSynchronizer(filters, _SYNC_QUEUE, slop)
        return message_filters.TimeSynchronizer(filters, _SYNC_QUEUE)

    def _on_image(self, image: Any) -> None:
        self._arrivals.image = time.monotonic()
        self.last_header = image.header
        stamp = nanoseconds(image.header.stamp)
        if self._newest_stamp is not None and stamp < self._newest_stamp - NANOSECONDS:
            self._forget_waiting()
        self._newest_stamp = stamp
        self._counter.add(received=1, dropped_invalid=self._unpaired.add(stamp))

    def _on_info(self, _: Any) -> None:
        self._arrivals.info = time.monotonic()

    def _on_both(self, image: Any, info: Any) -> None:
        self._counter.add(dropped_invalid=self._unpaired.pair(nanoseconds(image.header.stamp)))
        self._arrivals.pair = time.monotonic()
        self._on_pair(image, info)

    def _forget_waiting(self) -> None:
        """After a jump back in time, because a full queue keeps its newest stamps: the old ones for ever."""
        self._counter.add(dropped_invalid=self._unpaired.clear())
        with self._synchronizer.lock:
            for queue in self._synchronizer.queues:
                queue.clear()

    def _silent(self, what: str, topic: str, seconds: float) -> str:
        publishers = self._node.count_publishers(topic)
        cause = f"{publishers} publishers, none heard" if publishers else "nobody publishes there"
        return f"no {what} on {topic} for {seconds:.1f} s: {cause}"

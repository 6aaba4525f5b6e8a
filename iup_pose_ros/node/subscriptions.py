"""Subscriptions to the images and camera_info of one camera, paired by stamp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import message_filters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from iup_pose_ros.images import VIDEO_REMEDY
from iup_pose_ros.node.settings import NodeConfig

# Maximum number of unpaired messages of either topic.
QUEUE_SIZE = 10
# camera_info is queued, so that an image finds its own although a newer one has arrived.
_DEPTHS = (1, QUEUE_SIZE)
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)


class Offer(NamedTuple):
    """The part of the quality of service that follows the publishers."""

    reliability: ReliabilityPolicy
    durability: DurabilityPolicy


BEST_EFFORT = Offer(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)


class CameraSubscriptions:
    """The two subscriptions and their synchronizer.

    ``qos_overrides`` parameters may change history and depth of either subscription.

    Args:
        node: owner of the subscriptions.
        config: settings.
        on_image: called with every image, before it is paired.
        on_info: called with every camera_info.
        on_pair: called with (image, camera_info) of one stamp.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        on_image: Callable[[Any], None],
        on_info: Callable[[Any], None],
        on_pair: Callable[[Any, Any], None],
    ) -> None:
        self._node = node
        self._config = config
        self._callbacks = (on_image, on_info)
        self._on_pair = on_pair
        is_compressed = config.image_transport == "compressed"
        self._types = (CompressedImage if is_compressed else Image, CameraInfo)
        self.topics = (image_topic(node, config), node.resolve_topic_name("camera_info"))
        self._subscribe((BEST_EFFORT, BEST_EFFORT))
        self.follow_publishers()

    def follow_publishers(self) -> None:
        """Resubscribe if the publishers offer another quality of service than the one in use."""
        reliability = self._config.input_reliability
        wanted = tuple(
            offer_of_publishers(self._node, topic, now, reliability, may_latch=topic == self.topics[1])
            for topic, now in zip(self.topics, self._offers, strict=True)
        )
        if wanted != self._offers:
            self.close()
            self._subscribe(wanted)

    def why_silent(self, topic: str) -> str:
        """Return the probable cause of missing messages on one of the topics."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            return "no publishers"
        index = self.topics.index(topic)
        wanted = self._types[index]
        foreign = {info.topic_type for info in publishers} - {f"sensor_msgs/msg/{wanted.__name__}"}
        if any("FFMPEGPacket" in kind or "CompressedVideo" in kind for kind in foreign):
            return f"the publisher's type is {', '.join(sorted(foreign))}: {VIDEO_REMEDY}"
        if foreign:
            kinds = ", ".join(sorted(foreign))
            return f"the publisher's type is {kinds}, not sensor_msgs/msg/{wanted.__name__}"
        offered = {info.qos_profile.reliability for info in publishers}
        is_strict = self._offers[index].reliability == ReliabilityPolicy.RELIABLE
        if is_strict and ReliabilityPolicy.RELIABLE not in offered:
            return "the publisher offers best effort, but input_reliability requests reliable"
        return f"{len(publishers)} publisher(s) but no messages received (check QoS and network)"

    @property
    def warning(self) -> str:
        """Warning if several publishers send images on the topic, one sentence; empty otherwise."""
        publishers = self._node.get_publishers_info_by_topic(self.topics[0])
        if len(publishers) < 2:
            return ""
        names = sorted({f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers})
        return (
            f"{len(publishers)} publishers send images on {self.topics[0]} ({', '.join(names)}); images of "
            "one camera are required: remap image or stop the other publisher"
        )

    def forget_later(self, stamp: int) -> None:
        """Drop unpaired messages with later stamps.

        After a jump back in time they would displace newer messages. Messages of the new time stay: a
        camera_info may have arrived before its image.
        """
        with self._synchronizer.lock:
            for queue in self._synchronizer.queues:
                for later in [key for key in queue if key > stamp]:
                    del queue[later]

    def close(self) -> None:
        """End the subscriptions."""
        for source in self._sources:
            self._node.destroy_subscription(source.sub)

    def _subscribe(self, offers: tuple[Offer, ...]) -> None:
        """Create both subscriptions with this quality of service, and their synchronizer."""
        self._offers = offers
        self._sources = [
            message_filters.Subscriber(
                self._node,
                message_type,
                topic,
                qos_profile=QoSProfile(
                    depth=depth, reliability=offer.reliability, durability=offer.durability
                ),
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
            )
            for message_type, topic, depth, offer in zip(
                self._types, self.topics, _DEPTHS, offers, strict=True
            )
        ]
        # Registered before the synchronizer: a jump in time is detected before the image enters its queue.
        stamped = [message_filters.SimpleFilter() for _ in self._sources]
        for source, callback, valid in zip(self._sources, self._callbacks, stamped, strict=True):
            source.registerCallback(callback)
            source.registerCallback(_pass_on_valid_stamps, valid)
        slop = self._config.sync_slop
        self._synchronizer = (
            message_filters.ApproximateTimeSynchronizer(stamped, QUEUE_SIZE, slop)
            if slop > 0.0
            else message_filters.TimeSynchronizer(stamped, QUEUE_SIZE)
        )
        self._synchronizer.registerCallback(self._on_pair)


def _pass_on_valid_stamps(message: Any, valid: message_filters.SimpleFilter) -> None:
    """Pass on a message unless its stamp is negative, for which the synchronizers raise ValueError."""
    if message.header.stamp.sec >= 0:
        valid.signalMessage(message)


def offer_of_publishers(
    node: Node, topic: str, current: Offer, reliability: str, may_latch: bool = False
) -> Offer:
    """Return the quality of service that all publishers of a topic offer; ``current`` if there are none.

    Best effort matches every publisher, but Fast DDS then loses most images larger than 512 KiB. Only a
    latched subscription receives a latched camera_info that was published before this node started.

    Args:
        node: looks the publishers up.
        topic: the topic.
        current: quality of service in use.
        reliability: value of input_reliability.
        may_latch: whether a latched subscription is wanted if all publishers latch.
    """
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    if not offers:
        return current
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    durability = DurabilityPolicy.TRANSIENT_LOCAL if latched and may_latch else DurabilityPolicy.VOLATILE
    if reliability != "auto":
        return Offer(ReliabilityPolicy[reliability.upper()], durability)
    all_reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    return Offer(ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT, durability)


def image_topic(node: Node, config: NodeConfig) -> str:
    """Return the image topic; compressed images are on <image>/compressed, as in image_transport."""
    name = str(node.resolve_topic_name("image"))
    suffix = "/compressed"
    is_compressed = config.image_transport == "compressed"
    return name + suffix if is_compressed and not name.endswith(suffix) else name

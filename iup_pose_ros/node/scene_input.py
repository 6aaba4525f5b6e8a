"""Subscription to depth images or a range sensor, for metric scale."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, Range

from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import BEST_EFFORT, QUEUE_SIZE, Offer, offer_of_publishers
from iup_pose_ros.odometry.scene_sensors import MessageHistory

_SUFFIX = "/compressedDepth"


class SceneInput:
    """Adds the messages received on ``depth`` or ``range`` to a history.

    Args:
        node: owner of the subscription.
        config: settings; scale_source is depth or range.
        history: stores the messages.
    """

    def __init__(self, node: Node, config: NodeConfig, history: MessageHistory) -> None:
        self._node = node
        self._history = history
        self._reliability = config.input_reliability
        source = config.odometry.scale_source
        self._topic = str(node.resolve_topic_name(source))
        self._type = Range if source == "range" else Image
        if source == "depth" and config.depth_transport == "compressedDepth":
            # The name after remapping, as in image_transport.
            self._type = CompressedImage
            self._topic = f"{self._topic.removesuffix(_SUFFIX)}{_SUFFIX}"
        self._subscribe(BEST_EFFORT)

    def follow_publishers(self) -> None:
        """Resubscribe if the publishers offer another quality of service than the one in use."""
        wanted = offer_of_publishers(self._node, self._topic, self._offer, self._reliability)
        if wanted != self._offer:
            self.close()
            self._subscribe(wanted)

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, offer: Offer) -> None:
        self._offer = offer
        qos = QoSProfile(depth=QUEUE_SIZE, reliability=offer.reliability, durability=offer.durability)
        self._subscription = self._node.create_subscription(self._type, self._topic, self._history.add, qos)

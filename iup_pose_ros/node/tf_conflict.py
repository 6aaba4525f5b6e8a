"""Detection of another publisher of the base frame's transform, between which TF would alternate."""

from __future__ import annotations

import operator
import time
from collections import deque
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from tf2_msgs.msg import TFMessage

from iup_pose_ros.stamps import nanoseconds

# Seconds: how long a warning stays after the other transform was received, and the period of its log message.
_MEMORY = 5.0
_LOG_PERIOD = 60.0
_DEPTH = 100


class TransformOwnerWatch:
    """Subscribes to TF while the node broadcasts ``odom_frame -> base_frame`` itself.

    Args:
        node: owner of the subscriptions.
        odom_frame: parent of the node's own transform.
        base_frame: child of the node's own transform, which no other node may publish.
    """

    def __init__(self, node: Node, odom_frame: str, base_frame: str) -> None:
        self._node = node
        self._own_edge = f"{odom_frame} -> {base_frame}"
        self._base_frame = base_frame
        self._sent: deque[tuple[int, float, float, float]] = deque(maxlen=_DEPTH)
        self._owner = self._static_owner = ""
        self._heard = float("-inf")
        self._logged: dict[str, float] = {}
        self._subscriptions = []
        latched = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, qos in (("/tf", QoSProfile(depth=_DEPTH)), ("/tf_static", latched)):
            callback = partial(self._on_transforms, topic)
            if not hasattr(Subscription, "CallbackType"):  # older releases of rclpy pass no message info
                callback = partial(callback, info=None)
            self._subscriptions.append(node.create_subscription(TFMessage, topic, callback, qos))

    def sending(self, transform: Any) -> None:
        """Note that the node is about to broadcast this transform."""
        self._sent.append(_key(transform))

    @property
    def warning(self) -> str:
        """Warning that names the other publisher, one sentence; empty while there is none."""
        return self._owner if time.monotonic() - self._heard < _MEMORY else self._static_owner

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_transforms(self, topic: str, message: Any, info: Any) -> None:
        for transform in message.transforms:
            if transform.child_frame_id != self._base_frame or _key(transform) in self._sent:
                continue
            warning = self._named(topic, transform, info)
            if topic == "/tf":
                self._owner, self._heard = warning, time.monotonic()
            else:
                self._static_owner = warning
            self._warn(warning)

    def _named(self, topic: str, transform: Any, info: Any) -> str:
        """Return the warning, with the publishing node or, if rclpy does not report it, the candidates."""
        edge = f"{transform.header.frame_id} -> {transform.child_frame_id}"
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        # Older releases of rclpy give no gid with a message.
        gid = (info.get("publisher_gid") or {}).get("data") if isinstance(info, dict) else None
        # Gids of endpoints are padded in some releases: compared as far as both reach.
        exact = [item for item in publishers if gid and all(map(operator.eq, item.endpoint_gid, gid))]
        own = (self._node.get_name(), self._node.get_namespace())
        others = [item for item in publishers if (item.node_name, item.node_namespace) != own]
        names = sorted({f"{item.node_namespace.rstrip('/')}/{item.node_name}" for item in exact or others})
        publisher = "node " + " or ".join(names) if names else "an unknown node"
        return (
            f"{publisher} broadcasts {edge}, and this node {self._own_edge}: a frame has one parent and one "
            "publisher; set publish_tf to false here or stop the other node"
        )

    def _warn(self, text: str) -> None:
        """Log a warning, throttled. A first transform can arrive before the graph knows its publisher."""
        now = time.monotonic()
        if now - self._logged.get(text, float("-inf")) >= _LOG_PERIOD:
            self._logged[text] = now
            self._node.get_logger().warning(text)


def _key(transform: Any) -> tuple[int, float, float, float]:
    position = transform.transform.translation
    return nanoseconds(transform.header.stamp), position.x, position.y, position.z

"""Detection of another publisher of the base frame's transform, between which TF would alternate."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
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
        self._owner = ""
        self._heard = float("-inf")
        self._logged: dict[str, float] = {}
        latched = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(TFMessage, topic, _with_info(callback), qos)
            for topic, callback, qos in (
                ("/tf", self._on_transforms, QoSProfile(depth=_DEPTH)),
                ("/tf_static", self._on_static, latched),
            )
        ]
        self._static_owner = ""

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

    def _on_transforms(self, message: Any, info: Any) -> None:
        for transform in message.transforms:
            if transform.child_frame_id == self._base_frame and _key(transform) not in self._sent:
                self._owner = self._named("/tf", transform, info)
                self._heard = time.monotonic()
                self._warn(self._owner)

    def _on_static(self, message: Any, info: Any) -> None:
        for transform in message.transforms:
            if transform.child_frame_id == self._base_frame:
                self._static_owner = self._named("/tf_static", transform, info)
                self._warn(self._static_owner)

    def _named(self, topic: str, transform: Any, info: Any) -> str:
        """Return the warning, with the publishing node or, if rclpy does not report it, the candidates."""
        edge = f"{transform.header.frame_id} -> {transform.child_frame_id}"
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        # Older releases of rclpy give no gid with a message.
        gid = (info.get("publisher_gid") or {}).get("data") if isinstance(info, dict) else None
        exact = [item for item in publishers if gid and _same_gid(item.endpoint_gid, gid)]
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


def _with_info(callback: Callable[[Any, Any], None]) -> Callable[..., None]:
    """Return the callback, adapted if this rclpy passes no message info."""
    return callback if hasattr(Subscription, "CallbackType") else lambda message: callback(message, None)


def _key(transform: Any) -> tuple[int, float, float, float]:
    position = transform.transform.translation
    return nanoseconds(transform.header.stamp), position.x, position.y, position.z


def _same_gid(endpoint: Any, message: bytes) -> bool:
    """Return whether two gids are equal; those of endpoints are padded in some releases."""
    length = min(len(endpoint), len(message))
    return bytes(endpoint[:length]) == bytes(message[:length])

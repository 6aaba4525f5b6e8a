"""Watches whether somebody else moves the base, too: TF takes both transforms, and the robot flickers."""

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

# Seconds: how long a foreign transform is remembered, and how often the log repeats the warning.
_MEMORY = 5.0
_LOG_PERIOD = 60.0
_DEPTH = 100


class TransformOwnerWatch:
    """Listens to TF while the node broadcasts ``-> base_frame`` itself.

    Args:
        node: owner of the subscriptions.
        odom_frame: parent of the node's own transform.
        base_frame: the child that only one may move.
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
        """The node is about to broadcast this transform."""
        self._sent.append(_key(transform))

    @property
    def warning(self) -> str:
        """Who else moves the base, one sentence; empty while nobody does."""
        return self._owner if time.monotonic() - self._heard < _MEMORY else self._static_owner

    def close(self) -> None:
        """Ends the subscriptions."""
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
        edge = f"{transform.header.frame_id} -> {transform.child_frame_id}"
        return (
            f"{self._publisher(topic, info)} broadcasts {edge}, and this node {self._own_edge}: a frame "
            "has one parent and one owner; set publish_tf to false here or stop the other"
        )

    def _publisher(self, topic: str, info: Any) -> str:
        """The node that published, or, where rclpy does not tell, those that may have."""
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        # Older releases of rclpy give no gid with a message.
        gid = (info.get("publisher_gid") or {}).get("data") if isinstance(info, dict) else None
        exact = [item for item in publishers if gid and _same_gid(item.endpoint_gid, gid)]
        own = (self._node.get_name(), self._node.get_namespace())
        others = [item for item in publishers if (item.node_name, item.node_namespace) != own]
        names = sorted({f"{item.node_namespace.rstrip('/')}/{item.node_name}" for item in exact or others})
        return "node " + " or ".join(names) if names else "an unknown node"

    def _warn(self, text: str) -> None:
        """Logs a text now and then. A first transform can come before the graph tells whose it is."""
        now = time.monotonic()
        if now - self._logged.get(text, float("-inf")) >= _LOG_PERIOD:
            self._logged[text] = now
            self._node.get_logger().warning(text)


def _with_info(callback: Callable[[Any, Any], None]) -> Callable[..., None]:
    """The callback, or one that does without the message's info where rclpy gives none."""
    return callback if hasattr(Subscription, "CallbackType") else lambda message: callback(message, None)


def _key(transform: Any) -> tuple[int, float, float, float]:
    position = transform.transform.translation
    return nanoseconds(transform.header.stamp), position.x, position.y, position.z


def _same_gid(endpoint: Any, message: bytes) -> bool:
    """Whether two gids agree; those of endpoints are padded in some releases."""
    length = min(len(endpoint), len(message))
    return bytes(endpoint[:length]) == bytes(message[:length])

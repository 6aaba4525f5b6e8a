"""Subscription to masks of image regions that are ignored, such as moving objects."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image

from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import subscribe_to_sensor
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds

_DEPTH = 10


class MaskInput:
    """Stores the last masks received on ``mask`` and finds the mask of an image; thread-safe.

    An image without a mask that is recent enough is used unmasked, and ``warning`` reports it.

    Args:
        node: owner of the subscription.
        config: settings.
    """

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node = node
        self._timeout = config.mask_timeout
        self._waits = config.mask_policy == "synchronised"
        self._changed = threading.Condition()
        self._masks: deque[Any] = deque(maxlen=_DEPTH)
        self._has_mask = True
        self._subscription = subscribe_to_sensor(node, Image, "mask", self._on_mask, _DEPTH)

    def find(self, stamp: Any) -> Any | None:
        """Return the mask for the image of this stamp; None if there is none.

        With the policy ``synchronised``, wait up to ``mask_timeout`` seconds for the mask of this stamp, once
        any mask has been received; otherwise return the last mask at most ``mask_timeout`` seconds older.
        """
        image = nanoseconds(stamp)
        oldest = image if self._waits else image - round(self._timeout * NANOSECONDS)
        with self._changed:
            if self._waits and self._masks:
                self._changed.wait_for(lambda: self._in_time(image, image), self._timeout)
            fitting = self._in_time(oldest, image)
            self._has_mask = bool(fitting)
            return max(fitting, key=lambda mask: nanoseconds(mask.header.stamp), default=None)

    @property
    def warning(self) -> str:
        """Warning if masks are published but none fits the last image, one sentence; empty otherwise."""
        topic = self._subscription.topic_name
        if self._has_mask or not (self._masks or self._node.count_publishers(topic)):
            return ""
        need = "the stamp of the image" if self._waits else f"a stamp at most {self._timeout:g} s before it"
        return f"no mask on {topic} has {need}: the image is used without a mask"

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _in_time(self, oldest: int, newest: int) -> list[Any]:
        """Return the masks with stamps from ``oldest`` to ``newest``, nanoseconds."""
        return [mask for mask in self._masks if oldest <= nanoseconds(mask.header.stamp) <= newest]

    def _on_mask(self, mask: Any) -> None:
        with self._changed:
            self._masks.append(mask)
            self._changed.notify_all()

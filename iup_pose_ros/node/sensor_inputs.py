"""Subscriptions beside the camera: masks, IMU, depth images or ranges, wheel odometry."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, Imu, Range

from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import BEST_EFFORT, QUEUE_SIZE, Offer, offer_of_publishers
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.odometry.scene_sensors import MessageHistory
from iup_pose_ros.odometry.sensor_histories import add_angular_velocity, add_wheel_odometry
from iup_pose_ros.odometry.wheels import GyroHistory
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds

_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
_DEPTH_SUFFIX = "/compressedDepth"
_LOG_PERIOD = 30.0
# Queue sizes; IMUs send up to 1000 messages per second.
_MASK_QUEUE = 10
_IMU_QUEUE = 500
_WHEEL_QUEUE = 50


def subscribe_to_sensor(
    node: Node, message_type: type, topic: str, callback: Callable[[Any], None], depth: int
) -> Any:
    """Subscribe to a topic beside the images with best effort, which matches both kinds of publisher.

    ``qos_overrides`` parameters may change history, depth and reliability.
    """
    qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
    overrides = QoSOverridingOptions(_OVERRIDABLE)
    return node.create_subscription(message_type, topic, callback, qos, qos_overriding_options=overrides)


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
        self._masks: deque[Any] = deque(maxlen=_MASK_QUEUE)
        self._has_mask = True
        self._subscription = subscribe_to_sensor(node, Image, "mask", self._on_mask, _MASK_QUEUE)

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


class ImuInput:
    """Adds the angular velocities of sensor_msgs/Imu received on ``imu`` to a history.

    Args:
        node: owner of the subscription.
        history: integrates the angular velocities.
    """

    def __init__(self, node: Node, history: GyroHistory) -> None:
        self._node = node
        self._history = history
        self._subscription = subscribe_to_sensor(node, Imu, "imu", self._on_imu, _IMU_QUEUE)

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_imu(self, message: Any) -> None:
        warning = add_angular_velocity(self._history, message)
        if warning:
            self._node.get_logger().warning(warning, throttle_duration_sec=_LOG_PERIOD)


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
            self._topic = f"{self._topic.removesuffix(_DEPTH_SUFFIX)}{_DEPTH_SUFFIX}"
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


class WheelOdometry:
    """Adds nav_msgs/Odometry received on ``wheel_odometry`` to a history.

    Args:
        node: owner of the subscription.
        base_frame: expected child frame of the messages.
        history: stores the poses.
    """

    def __init__(self, node: Node, base_frame: str, history: WheelHistory) -> None:
        self._node = node
        self._base_frame = base_frame
        self._history = history
        self._subscription = subscribe_to_sensor(
            node, Odometry, "wheel_odometry", self._on_odometry, _WHEEL_QUEUE
        )

    def close(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_odometry(self, message: Any) -> None:
        warning = add_wheel_odometry(self._history, message, self._base_frame)
        if warning:
            self._node.get_logger().warning(warning, throttle_duration_sec=_LOG_PERIOD)

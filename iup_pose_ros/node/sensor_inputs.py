"""Subscriptions beside the camera: masks, IMU, depth images or ranges, wheel odometry."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, Imu, Range

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import pose_of
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import BEST_EFFORT, QUEUE_SIZE, Offer, offer_of_publishers
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.odometry.scene_sensors import MessageHistory
from iup_pose_ros.odometry.wheels import GyroHistory
from iup_pose_ros.stamps import NANOSECONDS, StampClock, nanoseconds

# Name of the messages in errors, by value of scale_source.
SCENE_MESSAGES = {"depth": "depth image", "range": "range"}

_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)
_DEPTH_SUFFIX = "/compressedDepth"
_LOG_PERIOD = 30.0
# Queue sizes; IMUs send up to 1000 messages per second.
_MASK_QUEUE = 10
_IMU_QUEUE = 500
_WHEEL_QUEUE = 50
# Seconds that an image waits for wheel odometry that is at least as recent.
_PATIENCE = 0.3
# Some drivers publish quaternions that are far from unit length.
_QUATERNION_TOLERANCE = 0.5
# rad/s: no gyroscope measures a faster turn.
_FASTEST = 100.0
# Squares of m/s and rad/s: larger variances, also infinite ones, are as uncertain as this one.
_LARGEST_VARIANCE = 1e4


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
        measured = message.angular_velocity
        rate = np.array([measured.x, measured.y, measured.z])
        variances = np.reshape(message.angular_velocity_covariance, (3, 3)).diagonal()
        # -1 as the first variance marks a message without angular velocity (sensor_msgs/Imu).
        if variances[0] == -1.0 or not np.all(np.abs(rate) <= _FASTEST):
            self._node.get_logger().warning(
                f"imu message ignored: its angular velocity {rate.tolist()} exceeds {_FASTEST:g} rad/s, "
                "is not finite, or is marked as absent by -1 in its covariance",
                throttle_duration_sec=_LOG_PERIOD,
            )
            return
        known = np.clip(np.nan_to_num(variances), 0.0, _LARGEST_VARIANCE)
        self._history.frame_id = message.header.frame_id
        self._history.rate_variances = np.concatenate([np.zeros(3), known])
        self._history.add_rate(nanoseconds(message.header.stamp), rate)


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
        pose = message.pose.pose
        try:
            T_odom_base = pose_of(pose.position, pose.orientation, _QUATERNION_TOLERANCE)
        except DataError as error:
            self._warn(f"wheel odometry message ignored: {error}")
            return
        if message.child_frame_id != self._base_frame:
            self._warn(
                f"wheel odometry has child frame {message.child_frame_id!r}; {self._base_frame!r} is assumed"
            )
        variances = np.reshape(message.twist.covariance, (6, 6)).diagonal()
        # NaN and negative variances, which some drivers send, count as unknown.
        self._history.rate_variances = np.clip(np.nan_to_num(variances), 0.0, _LARGEST_VARIANCE)
        self._history.add(nanoseconds(message.header.stamp), T_odom_base)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=_LOG_PERIOD)


class WheelsOfFrames:
    """Wheel motion between the stamps of frames (implements odometry.WheelMotion).

    Args:
        history: poses by nanoseconds since the epoch.
        clock: clock of the frames' stamps.
    """

    def __init__(self, history: WheelHistory, clock: StampClock) -> None:
        self._history = history
        self._clock = clock

    def between(self, start: float, end: float) -> Pose:
        """See odometry.WheelMotion.between."""
        clock = self._clock
        return self._history.between(clock.nanoseconds(start), clock.nanoseconds(end), _PATIENCE)

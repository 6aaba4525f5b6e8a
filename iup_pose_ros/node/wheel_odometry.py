"""The subscription to wheel odometry, for steps in metres."""

from __future__ import annotations

from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import pose_of
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.stamps import StampClock, nanoseconds

_DEPTH = 50
_LOG_PERIOD = 30.0
# Seconds that an image waits for wheel odometry as late as itself.
_PATIENCE = 0.3
# Some drivers publish quaternions that are far from normalised.
_QUATERNION_TOLERANCE = 0.5
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)


class WheelOdometry:
    """Receives nav_msgs/Odometry on ``wheel_odometry`` into a history.

    Args:
        node: owner of the subscription.
        base_frame: frame whose motion is expected.
        history: takes the poses.
    """

    def __init__(self, node: Node, base_frame: str, history: WheelHistory) -> None:
        self._node = node
        self._base_frame = base_frame
        self._history = history
        # Best effort accepts both kinds of publisher.
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(
            Odometry,
            "wheel_odometry",
            self._on_odometry,
            qos,
            qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
        )

    def close(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _on_odometry(self, message: Any) -> None:
        pose = message.pose.pose
        try:
            T_odom_base = pose_of(pose.position, pose.orientation, _QUATERNION_TOLERANCE)
        except DataError as error:
            self._warn(f"wheel odometry is ignored: {error}")
            return
        if message.child_frame_id != self._base_frame:
            self._warn(
                f"wheel odometry is of frame {message.child_frame_id!r}; it is taken for {self._base_frame!r}"
            )
        self._history.add(nanoseconds(message.header.stamp), T_odom_base)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=_LOG_PERIOD)


class WheelsOfFrames:
    """Wheel motion between stamps of frames (odometry.WheelMotion).

    Args:
        history: poses by nanoseconds since the epoch.
        clock: of the frames' stamps.
    """

    def __init__(self, history: WheelHistory, clock: StampClock) -> None:
        self._history = history
        self._clock = clock

    def between(self, start: float, end: float) -> Pose:
        """See odometry.WheelMotion.between."""
        clock = self._clock
        return self._history.between(clock.nanoseconds(start), clock.nanoseconds(end), _PATIENCE)

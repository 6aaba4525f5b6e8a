"""The publishers of what a good frame brought."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistWithCovarianceStamped
from iup_pose_msgs.msg import RelativePose as RelativePoseMessage
from nav_msgs.msg import Odometry
from rclpy.node import Node
from tf2_ros import TransformBroadcaster

from iup_pose_ros.node import messages
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.stamps import StampClock
from iup_pose_ros.odometry import OdometryUpdate

_DEPTH = 10


class OdometryOutputs:
    """Publishes what a good frame brought.

    Args:
        node: owner of the publishers.
        config: settings.
    """

    def __init__(self, node: Node, config: NodeConfig) -> None:
        self._node = node
        self._config = config
        self._relative_pose = node.create_publisher(PoseWithCovarianceStamped, "~/relative_pose", _DEPTH)
        self._keyframe_edge = node.create_publisher(RelativePoseMessage, "~/keyframe_edge", _DEPTH)
        self._odometry = node.create_publisher(Odometry, "~/odometry", _DEPTH)
        self._twist = node.create_publisher(TwistWithCovarianceStamped, "~/twist", _DEPTH)
        self._broadcaster = TransformBroadcaster(node) if config.publish_tf else None

    def close(self) -> None:
        """Removes the publishers."""
        publishers = [self._relative_pose, self._keyframe_edge, self._odometry, self._twist]
        if self._broadcaster is not None:
            publishers.append(self._broadcaster.pub_tf)
        for publisher in publishers:
            self._node.destroy_publisher(publisher)

    def publish(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> None:
        """Publishes the update of the image of this stamp.

        Raises:
            EstimationError: a covariance that no filter should get; then nothing is published.
        """
        for publisher, message in [*self._of_edge(update, stamp, clock), *self._of_pose(update, stamp)]:
            publisher.publish(message)
        if self._broadcaster is not None and update.pose is not None:
            frames = (self._config.odom_frame, self._config.base_frame)
            self._broadcaster.sendTransform(messages.transform(update.pose.pose, stamp, *frames))

    def _of_edge(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> list[tuple[Any, Any]]:
        edge = update.edge
        if edge is None:
            return []
        previous_stamp = clock.message(edge.previous_stamp)
        base_frame = self._config.base_frame
        return [
            (self._relative_pose, messages.relative_pose(edge, stamp, update.frame_id)),
            (
                self._keyframe_edge,
                messages.keyframe_edge(edge, stamp, previous_stamp, base_frame, update.state),
            ),
        ]

    def _of_pose(self, update: OdometryUpdate, stamp: Time) -> list[tuple[Any, Any]]:
        if update.pose is None or update.twist is None:
            return []
        odom_frame, base_frame = self._config.odom_frame, self._config.base_frame
        return [
            (
                self._odometry,
                messages.odometry(update.pose, update.twist, stamp, odom_frame, base_frame),
            ),
            (self._twist, messages.stamped_twist(update.twist, stamp, base_frame)),
        ]

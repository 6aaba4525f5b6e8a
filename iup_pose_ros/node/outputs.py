"""The publishers of what a good frame brought."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TwistWithCovarianceStamped
from iup_pose_msgs.msg import RelativePose as RelativePoseMessage
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from tf2_ros import TransformBroadcaster

from iup_pose_ros.node import message_conversion
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.tf_conflict import TransformOwnerWatch
from iup_pose_ros.node.trajectory_log import TrajectoryLog
from iup_pose_ros.odometry import OdometryUpdate
from iup_pose_ros.stamps import StampClock, nanoseconds

_DEPTH = 10


@dataclass(frozen=True)
class _Broadcast:
    """What exists while the node broadcasts its transform."""

    broadcaster: TransformBroadcaster
    watch: TransformOwnerWatch


class OdometryOutputs:
    """Publishes what a good frame brought, and remembers the trajectory.

    Args:
        node: owner of the publishers.
        config: settings.
        monitor: counts every odometry message.
    """

    def __init__(self, node: Node, config: NodeConfig, monitor: Monitor) -> None:
        self._node = node
        self._config = config
        self._monitor = monitor
        self.trajectory = TrajectoryLog()
        self._relative_pose = node.create_publisher(PoseWithCovarianceStamped, "~/relative_pose", _DEPTH)
        self._keyframe_edge = node.create_publisher(RelativePoseMessage, "~/keyframe_edge", _DEPTH)
        self._odometry = node.create_publisher(Odometry, "~/odometry", _DEPTH)
        self._twist = node.create_publisher(TwistWithCovarianceStamped, "~/twist", _DEPTH)
        self._path = node.create_publisher(Path, "~/path", 1)
        self._path_poses: deque[PoseStamped] = deque(maxlen=config.path_length)
        self._broadcast: _Broadcast | None = None
        self.change(config)

    def change(self, config: NodeConfig) -> None:
        """Goes on with other settings of what can change at run time."""
        self._config = config
        self._path_poses = deque(self._path_poses, maxlen=config.path_length)
        if config.publish_tf and self._broadcast is None:
            watch = TransformOwnerWatch(self._node, config.odom_frame, config.base_frame)
            self._broadcast = _Broadcast(TransformBroadcaster(self._node), watch)
        elif not config.publish_tf:
            self._end_broadcast()

    def forget(self) -> None:
        """Forgets trajectory and path: the odometry begins at the origin again."""
        self.trajectory.clear()
        self._path_poses.clear()

    def close(self) -> None:
        """Removes the publishers."""
        self._end_broadcast()
        for publisher in (
            self._relative_pose,
            self._keyframe_edge,
            self._odometry,
            self._twist,
            self._path,
        ):
            self._node.destroy_publisher(publisher)

    @property
    def warning(self) -> str:
        """Who else broadcasts the node's transform, one sentence; empty while nobody does."""
        broadcast = self._broadcast
        return "" if broadcast is None else broadcast.watch.warning

    def publish(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> None:
        """Publishes the update of the image of this stamp.

        Raises:
            EstimationError: a covariance that no filter should get; then nothing is published.
        """
        for publisher, message in [*self._of_edge(update, stamp, clock), *self._of_pose(update, stamp)]:
            publisher.publish(message)
        if update.pose is None:
            return
        self._monitor.on_odometry()
        if update.edge is not None:
            self._remember(update, stamp)
        broadcast = self._broadcast
        if broadcast is not None:
            frames = (self._config.odom_frame, self._config.base_frame)
            transform = message_conversion.transform(update.pose.pose, stamp, *frames)
            broadcast.watch.sending(transform)
            broadcast.broadcaster.sendTransform(transform)

    def _remember(self, update: OdometryUpdate, stamp: Time) -> None:
        """Appends the pose of a keyframe, and publishes the path where someone listens."""
        assert update.pose is not None  # publish has asked
        self.trajectory.add(nanoseconds(stamp), update.pose.pose)
        pose = message_conversion.stamped_pose(update.pose.pose, stamp, self._config.odom_frame)
        poses = self._path_poses
        poses.append(pose)
        if self._path.get_subscription_count() > 0:
            self._path.publish(Path(header=pose.header, poses=list(poses)))

    def _end_broadcast(self) -> None:
        if self._broadcast is not None:
            self._broadcast.watch.close()
            self._node.destroy_publisher(self._broadcast.broadcaster.pub_tf)
            self._broadcast = None

    def _of_edge(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> list[tuple[Any, Any]]:
        edge = update.edge
        if edge is None:
            return []
        previous_stamp = message_conversion.time_message(clock.nanoseconds(edge.previous_stamp))
        base_frame = self._config.base_frame
        return [
            (self._relative_pose, message_conversion.relative_pose(edge, stamp, update.frame_id)),
            (
                self._keyframe_edge,
                message_conversion.keyframe_edge(edge, stamp, previous_stamp, base_frame, update.state),
            ),
        ]

    def _of_pose(self, update: OdometryUpdate, stamp: Time) -> list[tuple[Any, Any]]:
        if update.pose is None or update.twist is None:
            return []
        odom_frame, base_frame = self._config.odom_frame, self._config.base_frame
        return [
            (
                self._odometry,
                message_conversion.odometry(update.pose, update.twist, stamp, odom_frame, base_frame),
            ),
            (self._twist, message_conversion.stamped_twist(update.twist, stamp, base_frame)),
        ]

"""Publishers of odometry, twist, keyframe edge, path and transform."""

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
from iup_pose_ros.odometry import OdometryUpdate, TrackingState
from iup_pose_ros.stamps import StampClock, nanoseconds

_DEPTH = 10


@dataclass(frozen=True)
class _Broadcast:
    """The objects that exist while the node broadcasts its transform."""

    broadcaster: TransformBroadcaster
    watch: TransformOwnerWatch


class OdometryOutputs:
    """Publishes odometry updates and stores the trajectory.

    Args:
        node: owner of the publishers.
        config: settings.
        monitor: counts the odometry messages.
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
        """Apply changed run-time parameters."""
        self._config = config
        self._path_poses = deque(self._path_poses, maxlen=config.path_length)
        if config.publish_tf and self._broadcast is None:
            watch = TransformOwnerWatch(self._node, config.odom_frame, config.base_frame)
            self._broadcast = _Broadcast(TransformBroadcaster(self._node), watch)
        elif not config.publish_tf:
            self._end_broadcast()

    def forget(self) -> None:
        """Clear trajectory and path after a reset to the origin."""
        self.trajectory.clear()
        self._path_poses.clear()

    def close(self) -> None:
        """Remove the publishers."""
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
        """Warning if another node broadcasts the same transform, one sentence; empty otherwise."""
        broadcast = self._broadcast
        return "" if broadcast is None else broadcast.watch.warning

    def publish(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> None:
        """Publish the update of the image of this stamp.

        Raises:
            EstimationError: a covariance is not finite and positive definite; then nothing is published.
        """
        for publisher, message in self._messages(update, stamp, clock):
            publisher.publish(message)
        if update.pose is None:
            return
        self._monitor.on_odometry()
        if update.state is not TrackingState.STATIONARY:
            self.trajectory.add(nanoseconds(stamp), update.pose.pose)
        if update.edge is not None:
            pose = message_conversion.stamped_pose(update.pose.pose, stamp, self._config.odom_frame)
            self._path_poses.append(pose)
            if self._path.get_subscription_count() > 0:
                self._path.publish(Path(header=pose.header, poses=list(self._path_poses)))
        broadcast = self._broadcast
        if broadcast is not None:
            frames = (self._config.odom_frame, self._config.base_frame)
            transform = message_conversion.transform(update.pose.pose, stamp, *frames)
            broadcast.watch.sending(transform)
            broadcast.broadcaster.sendTransform(transform)

    def _end_broadcast(self) -> None:
        """Stop broadcasting the transform, if it is broadcast."""
        if self._broadcast is not None:
            self._broadcast.watch.close()
            self._node.destroy_publisher(self._broadcast.broadcaster.pub_tf)
            self._broadcast = None

    def _messages(self, update: OdometryUpdate, stamp: Time, clock: StampClock) -> list[tuple[Any, Any]]:
        """Return the publishers with the messages of an update; all are valid before any is published."""
        convert = message_conversion
        odom_frame, base_frame = self._config.odom_frame, self._config.base_frame
        edge, pose, twist = update.edge, update.pose, update.twist
        messages: list[tuple[Any, Any]] = []
        if edge is not None:
            previous = convert.time_message(clock.nanoseconds(edge.previous_stamp))
            keyframe_edge = convert.keyframe_edge(edge, stamp, previous, base_frame, update.state)
            messages += [
                (self._relative_pose, convert.relative_pose(edge, stamp, update.frame_id)),
                (self._keyframe_edge, keyframe_edge),
            ]
        if pose is not None and twist is not None:
            messages.append((self._odometry, convert.odometry(pose, twist, stamp, odom_frame, base_frame)))
            # A filter receives the sensor of the motion prior itself; as ~/twist it would count twice.
            if not update.bridged:
                # A mean velocity is that of the middle of its interval; stamped at the end it would be late.
                middle = convert.time_message(clock.nanoseconds(update.stamp - 0.5 * twist.interval))
                messages.append((self._twist, convert.stamped_twist(twist, middle, base_frame)))
        return messages

"""Recording of the node's outputs during a run."""

from __future__ import annotations

import time
from threading import Condition

from iup_pose_msgs.msg import RelativePose
from iup_pose_msgs.msg import TrackingState as TrackingStateMessage
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from iup_pose_ros.bags.messages import stamp_of
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.replay.node_outputs import NodeOutputs


class Recorder:
    """Subscriptions to the node's outputs; stores all messages, the states with their arrival time.

    Args:
        node: the ROS node that subscribes.
        vo_node: full name of the visual odometry's node, for example ``/vo_node``.
    """

    def __init__(self, node: Node, vo_node: str) -> None:
        self._changed = Condition()
        self._sent: dict[int, float] = {}
        self._answered: set[int] = set()
        self._outputs = NodeOutputs()
        depth = 1000
        reliable = QoSProfile(depth=depth, reliability=QoSReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=depth,
            reliability=QoSReliabilityPolicy.RELIABLE,
            durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
        )
        outputs = self._outputs
        self._subscriptions = [
            node.create_subscription(Odometry, f"{vo_node}/odometry", outputs.odometry.append, reliable),
            node.create_subscription(
                RelativePose, f"{vo_node}/keyframe_edge", outputs.edges.append, reliable
            ),
            node.create_subscription(
                TrackingStateMessage, f"{vo_node}/tracking_state", self._on_state, latched
            ),
        ]

    @property
    def hears(self) -> bool:
        """Whether every subscription has found the node's publisher."""
        return all(subscription.get_publisher_count() > 0 for subscription in self._subscriptions)

    def sent(self, stamp: int, sent_at: float) -> None:
        """Record the sending time (``time.monotonic()``) of the image with this stamp (ns)."""
        self._sent[stamp] = sent_at

    def wait_for_state(self, stamp: int, timeout: float) -> bool:
        """Wait until a state with the stamp of this image (ns) has arrived; False after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: stamp in self._answered, timeout)

    def record(self, estimator: str, T_base_camera: Pose) -> RunRecord:
        """Return the received messages as motion of the camera."""
        return self._outputs.record("live", estimator, self._sent, T_base_camera)

    def _on_state(self, message: TrackingStateMessage) -> None:
        with self._changed:
            self._outputs.states.append((message, time.monotonic()))
            self._answered.add(stamp_of(message))
            self._changed.notify_all()

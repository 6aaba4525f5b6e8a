"""A recording's /tf_static, handed on to the node."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC


def broadcast(node: Node, bag: BagReader) -> StaticTransformBroadcaster:
    """Publish the recording's /tf_static, latched, for as long as the returned broadcaster lives."""
    recorded = [deserialize_message(message.data, TFMessage) for message in bag.messages([TF_STATIC])]
    broadcaster = StaticTransformBroadcaster(node)
    broadcaster.sendTransform([transform for message in recorded for transform in message.transforms])
    return broadcaster

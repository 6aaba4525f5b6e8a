"""The camera's mount in a recording's /tf_static, handed on to the node and looked up for the evaluation."""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformException

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.geometry.pose import Pose

TF_STATIC = "/tf_static"


def static_transforms(bag: BagReader) -> list[TransformStamped]:
    """All transforms of the recording's /tf_static; none where it has none."""
    if TF_STATIC not in bag.topics:
        return []
    recorded = [deserialize_message(message.data, TFMessage) for message in bag.messages([TF_STATIC])]
    return [transform for message in recorded for transform in message.transforms]


def find_mount(transforms: list[TransformStamped], base_frame: str, camera_frame: str) -> Pose | None:
    """``T_base_camera`` along the transforms; None where they do not connect the two frames."""
    buffer = Buffer()
    for transform in transforms:
        buffer.set_transform_static(transform, TF_STATIC)
    try:
        found = buffer.lookup_transform(base_frame, camera_frame, Time()).transform
    except TransformException:
        return None
    quaternion, translation = found.rotation, found.translation
    return Pose.from_quaternion(
        [quaternion.x, quaternion.y, quaternion.z, quaternion.w],
        [translation.x, translation.y, translation.z],
    )


def broadcast(node: Node, transforms: list[TransformStamped]) -> StaticTransformBroadcaster:
    """Publish the transforms, latched, for as long as the returned broadcaster lives."""
    broadcaster = StaticTransformBroadcaster(node)
    broadcaster.sendTransform(transforms)
    return broadcaster

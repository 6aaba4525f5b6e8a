"""A run of the node that was recorded, with `ros2 bag record`, while its camera's recording played."""

from __future__ import annotations

import math
from pathlib import Path

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.recording import Recording
from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.replay.node_outputs import NodeOutputs

_STATE = "iup_pose_msgs/msg/TrackingState"
_STATE_TOPIC = "/tracking_state"


def read_recorded_run(path: Path, bag: BagReader) -> RunRecord:
    """The run in a recording of ~/odometry, ~/keyframe_edge and ~/tracking_state of one vo_node.

    Latencies are known where the camera_info was recorded too: from its arrival to that of the state.

    Args:
        path: the recording of the node's outputs.
        bag: the camera's recording that played meanwhile; its /tf_static holds the camera's extrinsics.

    Raises:
        DataError: the recording is damaged, holds no or several such nodes, or an output is missing.
    """
    with Recording(path) as recording:
        node = _node(recording)
        outputs = _outputs(recording, node)
        arrivals = _arrivals(recording, bag.camera.info)
    sent = {stamp: arrivals.get(stamp, math.nan) for stamp in bag.image_stamps()}
    estimator = str(outputs.edges[0].estimator) if outputs.edges else "unknown"
    return outputs.record("recorded", estimator, sent, _extrinsics(outputs, bag))


def _node(recording: Recording) -> str:
    """Full name of the node whose outputs were recorded."""
    nodes = [
        topic.removesuffix(_STATE_TOPIC)
        for topic, summary in recording.topics.items()
        if summary.kind == _STATE and summary.count and topic.endswith(_STATE_TOPIC)
    ]
    if len(nodes) != 1:
        found = ", ".join(sorted(nodes)) or "none"
        raise DataError(
            f"bag {recording.path} must hold the outputs of one vo_node (~/odometry, ~/keyframe_edge, "
            f"~/tracking_state); nodes with {_STATE_TOPIC.strip('/')} messages: {found}"
        )
    return nodes[0]


def _outputs(recording: Recording, node: str) -> NodeOutputs:
    outputs = NodeOutputs()
    state_topic = f"{node}{_STATE_TOPIC}"
    for message in recording.messages([state_topic]):
        outputs.states.append((recording.deserialized(message, _STATE), message.time * 1e-9))
    outputs.odometry.extend(recording.decoded(f"{node}/odometry"))
    outputs.edges.extend(recording.decoded(f"{node}/keyframe_edge"))
    return outputs


def _arrivals(recording: Recording, info_topic: str) -> dict[int, float]:
    """When the camera_info of each stamp was recorded, seconds; nothing where it was not."""
    if info_topic not in recording.topics:
        return {}
    recorded = recording.messages([info_topic])
    return {messages.header_stamp(message.data): message.time * 1e-9 for message in recorded}


def _extrinsics(outputs: NodeOutputs, bag: BagReader) -> Pose:
    """``T_base_camera``; identity where the camera itself was the base."""
    if not outputs.odometry:
        return Pose.identity()
    found = StaticTransforms.read(bag).find(outputs.odometry[0].child_frame_id, bag.camera_frame)
    return found or Pose.identity()

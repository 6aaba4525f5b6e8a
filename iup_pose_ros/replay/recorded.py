"""Reading of a node's outputs recorded with `ros2 bag record` while the camera's recording was played."""

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
    """Read the run from a recording of ~/odometry, ~/keyframe_edge and ~/tracking_state of one vo_node.

    If camera_info was recorded too, latencies are measured from its arrival to that of the state.

    Args:
        path: the recording of the node's outputs.
        bag: the camera's recording that was played; its /tf_static holds the camera's extrinsics.

    Raises:
        DataError: the recording is damaged, holds no or several such nodes, or an output is missing.
    """
    outputs, arrivals = NodeOutputs(), {}
    with Recording(path) as recording:
        nodes = [
            topic.removesuffix(_STATE_TOPIC)
            for topic, summary in recording.topics.items()
            if summary.kind == _STATE and summary.count and topic.endswith(_STATE_TOPIC)
        ]
        if len(nodes) != 1:
            found = ", ".join(sorted(nodes)) or "none"
            raise DataError(
                f"bag {path} must hold the outputs of one vo_node (~/odometry, ~/keyframe_edge, "
                f"~/tracking_state); nodes with {_STATE_TOPIC.strip('/')} messages: {found}"
            )
        node = nodes[0]
        for message in recording.messages([f"{node}{_STATE_TOPIC}"]):
            outputs.states.append((recording.deserialized(message, _STATE), message.time * 1e-9))
        outputs.odometry.extend(recording.decoded(f"{node}/odometry"))
        outputs.edges.extend(recording.decoded(f"{node}/keyframe_edge"))
        if bag.camera.info in recording.topics:
            for message in recording.messages([bag.camera.info]):
                arrivals[messages.header_stamp(message.data)] = message.time * 1e-9
    sent = {stamp: arrivals.get(stamp, math.nan) for stamp in bag.image_stamps()}
    estimator = str(outputs.edges[0].estimator) if outputs.edges else "unknown"
    # Without extrinsics the node takes the camera for the base.
    T_base_camera = None
    if outputs.odometry:
        base_frame = outputs.odometry[0].child_frame_id
        T_base_camera = StaticTransforms.read(bag).find(base_frame, bag.camera_frame)
    return outputs.record("recorded", estimator, sent, T_base_camera or Pose.identity())

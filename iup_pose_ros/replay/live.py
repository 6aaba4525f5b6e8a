"""Playing of a recording over DDS to the node, which runs as a separate process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from iup_pose_ros.bags.messages import COMPRESSED_IMAGE, header_stamp
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC, StaticTransforms
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.replay.node_process import NodeProcess, NodeProcessError, Parameter, isolated_environment
from iup_pose_ros.replay.player import Player
from iup_pose_ros.replay.recorder import Recorder
from iup_pose_ros.replay.ros_session import ros_session

NODE_NAME = "vo_node"
BASE_FRAME = "base_link"
_START_TIMEOUT = 60.0
_ANSWER_TIMEOUT = 5.0
# Both sides of a connection do not learn of it at the same moment.
_SETTLING_TIME = 0.5


def run_live(
    bag: BagReader,
    estimator: str,
    progress: Callable[[], None],
    *,
    rate: float,
    log: Path,
    network: NetworkOptions | None = None,
) -> RunRecord:
    """Play a recording to ``vo_node`` and collect its outputs.

    The camera's extrinsics are those of the recording (/tf_static, base_link to the camera); without them the
    node assumes that the camera frame is the base frame.

    Args:
        bag: the recording.
        estimator: name of the estimator.
        progress: called after every image.
        rate: playback rate, 1 as recorded; 0 waits for the node's state after every image, so that none is
            dropped.
        log: file for the node's output.
        network: weights and device of learned estimators; None: the node's own defaults.

    Raises:
        NodeProcessError: the node does not start, exits unexpectedly or with a code other than 0 on SIGINT.
    """
    environment = isolated_environment()
    extrinsics = StaticTransforms.read(bag).find(BASE_FRAME, bag.camera_frame)
    image_type = CompressedImage if bag.camera.image_kind == COMPRESSED_IMAGE else Image
    types = {bag.camera.image: image_type, bag.camera.info: CameraInfo}
    remaps = {"__node": NODE_NAME, "image": bag.camera.image, "camera_info": bag.camera.info}
    with (
        ros_session("iup_pose_replay", environment) as node,
        NodeProcess(_parameters(bag, estimator, extrinsics, network), remaps, environment, log) as process,
    ):
        # Kept until the end: latched transforms exist as long as their publisher.
        broadcaster = StaticTransformBroadcaster(node) if extrinsics is not None else None
        if broadcaster is not None:
            recorded = [deserialize_message(message.data, TFMessage) for message in bag.messages([TF_STATIC])]
            broadcaster.sendTransform([transform for each in recorded for transform in each.transforms])
        recorder, player = Recorder(node, f"/{NODE_NAME}"), Player(node, types)
        wait_for_topics(lambda: player.is_heard and recorder.hears, process)
        if broadcaster is not None:
            wait_for_topics(lambda: broadcaster.pub_tf.get_subscription_count() > 0, process)
        time.sleep(_SETTLING_TIME)
        _play(bag, rate, player, recorder, process, progress)
        process.stop()
        return recorder.record(estimator, extrinsics or Pose.identity())


def _play(
    bag: BagReader,
    rate: float,
    player: Player,
    recorder: Recorder,
    process: NodeProcess,
    progress: Callable[[], None],
) -> None:
    """Play all messages; note the sending time of the images."""
    stamp = 0
    for message, sent_at in player.play(bag.camera_messages(), rate):
        if message.topic != bag.camera.image:
            continue
        process.check_running()
        stamp = header_stamp(message.data)
        recorder.sent(stamp, sent_at)
        if rate == 0.0:
            recorder.wait_for_state(stamp, _ANSWER_TIMEOUT)
        progress()
    recorder.wait_for_state(stamp, _ANSWER_TIMEOUT)


def _parameters(
    bag: BagReader, estimator: str, extrinsics: Pose | None, network: NetworkOptions | None
) -> dict[str, Parameter]:
    """Return the node's parameters."""
    compressed = bag.camera.image_kind == COMPRESSED_IMAGE
    learned: dict[str, Parameter] = {}
    if network is not None:
        learned = {"weights": str(network.weights or ""), "device": network.device}
    return {
        **learned,
        **asdict(bag.config),
        "estimator": estimator,
        "base_frame": BASE_FRAME,
        "image_transport": "compressed" if compressed else "raw",
        "assume_identity_mount": extrinsics is None,
    }


def wait_for_topics(condition: Callable[[], bool], process: NodeProcess) -> None:
    """Wait until a condition about the node's topics holds.

    Raises:
        NodeProcessError: the node ends before, or the condition does not hold within a minute.
    """
    deadline = time.monotonic() + _START_TIMEOUT
    while not condition():
        process.check_running()
        if time.monotonic() > deadline:
            raise NodeProcessError(
                f"the node did not connect to its topics within {_START_TIMEOUT:g} s; its last output:\n"
                f"{process.last_output()}"
            )
        time.sleep(0.05)

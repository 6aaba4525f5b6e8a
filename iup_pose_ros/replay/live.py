"""Playing of a recording over DDS to the node, which runs as a separate process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, Range
from tf2_msgs.msg import TFMessage
from tf2_ros import StaticTransformBroadcaster

from iup_pose_ros.bags.messages import COMPRESSED_IMAGE, header_stamp
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC
from iup_pose_ros.errors import NodeProcessError
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.params_file import NODE_NAME
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.replay.bag_sensors import camera_mount, sensors_first
from iup_pose_ros.replay.node_process import NodeProcess, Parameter, isolated_environment
from iup_pose_ros.replay.player import Player
from iup_pose_ros.replay.recorder import Recorder
from iup_pose_ros.replay.ros_session import ros_session

# Sensors whose subscriptions follow the reliability of their publishers, as those of the camera do.
_ADAPTING = {"depth", "range"}
_TYPES = {"mask": Image, "range": Range, "wheel_odometry": Odometry, "imu": Imu}
_DEFAULT_CONFIG = NodeConfig()
_NO_TOPICS: Mapping[str, str] = {}
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
    config: NodeConfig = _DEFAULT_CONFIG,
    topics: Mapping[str, str] = _NO_TOPICS,
) -> RunRecord:
    """Play a recording to ``vo_node`` and collect its outputs.

    The extrinsics of camera and sensors are those of the recording (/tf_static); without those of the camera
    the node assumes that the camera frame is the base frame.

    Args:
        bag: the recording.
        estimator: name of the estimator.
        progress: called after every image.
        rate: playback rate; 0 waits for the node's state after every image, so that none is dropped.
        log: file for the node's output.
        config: settings of the node, except estimator and transports.
        topics: topics of the sensors that the settings use (``sensor_topics``).

    Raises:
        DataError: the recording lacks what the settings require.
        NodeProcessError: the node does not start, exits unexpectedly or with a code other than 0 on SIGINT.
    """
    environment = isolated_environment()
    extrinsics = camera_mount(bag, config)
    types = _message_types(bag, topics)
    # 1. The node, on the topics of the recording.
    remaps = {"__node": NODE_NAME, "image": bag.camera.image, "camera_info": bag.camera.info, **topics}
    parameters = _parameters(config, estimator, types[bag.camera.image], types.get(topics.get("depth", "")))
    parameters["assume_identity_mount"] = extrinsics is None
    with (
        ros_session("iup_pose_replay", environment) as node,
        NodeProcess(parameters, remaps, environment, log) as process,
    ):
        # 2. Publishers and subscriptions.
        if extrinsics is not None:
            _broadcast_transforms(bag, node, process)
        recorder = Recorder(node, f"/{NODE_NAME}")
        adapting = [bag.camera.image, bag.camera.info, *(topics[name] for name in _ADAPTING & topics.keys())]
        player = Player(node, types, adapting if config.input_reliability != "best_effort" else [])
        wait_for_topics(lambda: player.is_heard and recorder.hears, process)
        # 3. Playback.
        _play(bag, player, types, rate, recorder, process, progress)
        process.stop()
        return recorder.record(estimator, extrinsics or Pose.identity())


def _parameters(
    config: NodeConfig, estimator: str, image_type: type[Any], depth_type: type[Any] | None
) -> dict[str, Parameter]:
    """Return the node's parameters for a recording with these message classes of image and depth."""
    return {
        **config.parameters,
        "estimator": estimator,
        "autostart": True,
        "image_transport": "compressed" if image_type is CompressedImage else "raw",
        "depth_transport": "compressedDepth" if depth_type is CompressedImage else "raw",
    }


def _message_types(bag: BagReader, topics: Mapping[str, str]) -> dict[str, type[Any]]:
    """Return the message class of each topic that is played."""
    types: dict[str, type[Any]] = {bag.camera.info: CameraInfo}
    for name, topic in {"image": bag.camera.image, **topics}.items():
        is_compressed = bag.topics[topic].kind == COMPRESSED_IMAGE
        types[topic] = CompressedImage if is_compressed else _TYPES.get(name, Image)
    return types


def _broadcast_transforms(bag: BagReader, node: Node, process: NodeProcess) -> None:
    """Publish the recorded static transforms, latched, and wait until the node subscribes to them."""
    broadcaster = StaticTransformBroadcaster(node)
    recorded = [deserialize_message(message.data, TFMessage) for message in bag.messages([TF_STATIC])]
    broadcaster.sendTransform([transform for each in recorded for transform in each.transforms])
    wait_for_topics(lambda: broadcaster.pub_tf.get_subscription_count() > 0, process)


def _play(
    bag: BagReader,
    player: Player,
    types: Mapping[str, type[Any]],
    rate: float,
    recorder: Recorder,
    process: NodeProcess,
    progress: Callable[[], None],
) -> None:
    """Play all messages and note the sending times of the images; with rate 0 wait for the state of each."""
    time.sleep(_SETTLING_TIME)
    messages = bag.messages(types)
    if rate == 0.0:
        # After an image nothing is sent until the node has answered.
        messages = sensors_first(messages, (bag.camera.image, bag.camera.info))
    stamp = 0
    for message, sent_at in player.play(messages, rate):
        if message.topic != bag.camera.image:
            continue
        process.check_running()
        stamp = header_stamp(message.data)
        recorder.sent(stamp, sent_at)
        if rate == 0.0:
            recorder.wait_for_state(stamp, _ANSWER_TIMEOUT)
        progress()
    recorder.wait_for_state(stamp, _ANSWER_TIMEOUT)


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

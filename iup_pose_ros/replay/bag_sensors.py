"""Sensors of a recording beside its camera, and their mounts, as the node's settings require them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.recording import RecordedMessage
from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.bags.topics import find_sensor
from iup_pose_ros.errors import DataError, ExtrinsicsError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.odometry.sensor_histories import SensorHistories, add_angular_velocity, add_wheel_odometry

# Nanoseconds by which sensors are ahead of images: as long as an image waits for wheel odometry in the node.
AHEAD = 300_000_000


def sensor_topics(bag: BagReader, config: NodeConfig, others: Collection[str | None] = ()) -> dict[str, str]:
    """Return the topics of the sensors that the settings use, by the name of the node's topic.

    Args:
        bag: the recording, with the topics that the user gives.
        config: settings of the node.
        others: topics that are not sensors, such as ground truth.

    Raises:
        DataError: a topic is missing or ambiguous, or one is given that the settings do not use.
    """
    source, prior, given = config.odometry.scale_source, config.motion_prior, bag.sensors
    used = {
        "depth": source == "depth",
        "range": source == "range",
        "wheel_odometry": "odometry" in (source, prior),
        "imu": prior == "imu",
    }
    found = {} if given.mask is None else {"mask": given.mask}
    for sensor, is_used in used.items():
        topic: str | None = getattr(given, sensor)
        if is_used:
            known = (bag.camera.image, given.mask, *others)
            try:
                found[sensor] = find_sensor(bag.topics, sensor, topic, known)
            except DataError as error:
                raise DataError(f"bag {bag.path}: {error}") from error
        elif topic is not None:
            raise DataError(
                f"topic {topic} of {sensor} is given, but not used with scale_source {source!r} and "
                f"motion_prior {prior!r}; set these in --params-file"
            )
    return found


def camera_mount(bag: BagReader, config: NodeConfig) -> Pose | None:
    """Return T_base_camera by the /tf_static of a recording; None if camera and base are one frame.

    Without a transform the camera's frame is taken for the base, unless a sensor of the base is used.

    Raises:
        DataError: a sensor is used, but the recording does not contain the transform.
    """
    if config.assume_identity_mount:
        return None
    transforms = StaticTransforms.read(bag)
    mount = transforms.find(config.base_frame, bag.camera_frame)
    needs = config.odometry.scale_source in ("odometry", "range", "camera_height")
    if mount is None and (needs or config.motion_prior != "none"):
        raise DataError(
            f"bag {bag.path}: /tf_static does not connect {config.base_frame} (base_frame) and "
            f"{bag.camera_frame}, as scale_source {config.odometry.scale_source!r} and motion_prior "
            f"{config.motion_prior!r} require; its frames are: {transforms.names or 'none'}"
        )
    return mount


class RecordedMounts:
    """Poses of sensors in the base frame by the /tf_static of a recording (implements pipeline.Extrinsics).

    Args:
        bag: the recording.
        base_frame: frame of the robot.
        assume_identity: whether all sensors are at the base.
    """

    timeout = 0.0

    def __init__(self, bag: BagReader, base_frame: str, assume_identity: bool) -> None:
        self._transforms = StaticTransforms.read(bag)
        self._base_frame = base_frame
        self._assume_identity = assume_identity

    def find(self, camera_frame: str, stamp: Any = None) -> Pose:
        """See pipeline.Extrinsics.find."""
        if self._assume_identity:
            return Pose.identity()
        T_base_sensor = self._transforms.find(self._base_frame, camera_frame)
        if T_base_sensor is None:
            raise ExtrinsicsError(
                f"/tf_static does not connect {self._base_frame} and {camera_frame}; its frames are: "
                f"{self._transforms.names or 'none'}"
            )
        return T_base_sensor


def sensors_first(messages: Iterable[RecordedMessage], camera: Collection[str]) -> Iterator[RecordedMessage]:
    """Yield recorded messages such that sensors are ahead of images and camera_info by AHEAD.

    Args:
        messages: ordered by time.
        camera: topics of images and camera_info.
    """
    waiting: deque[RecordedMessage] = deque()
    for message in messages:
        while waiting and waiting[0].time + AHEAD < message.time:
            yield waiting.popleft()
        if message.topic in camera:
            waiting.append(message)
        else:
            yield message
    yield from waiting


class SensorFeed:
    """Adds recorded messages to the histories of an offline run.

    Args:
        bag: the recording.
        topics: topic by the name of the node's topic.
        histories: the histories that the settings require.
        base_frame: frame of the robot.
    """

    def __init__(
        self, bag: BagReader, topics: Mapping[str, str], histories: SensorHistories, base_frame: str
    ) -> None:
        self._bag = bag
        self._sensors = {topic: sensor for sensor, topic in topics.items()}
        self._histories = histories
        self._base_frame = base_frame

    def add(self, message: RecordedMessage) -> str:
        """Add a message; return a warning about it, one sentence, or an empty text."""
        histories = self._histories
        content = self._bag.deserialized(message, self._bag.topics[message.topic].kind)
        if self._sensors[message.topic] == "wheel_odometry" and histories.wheels is not None:
            return add_wheel_odometry(histories.wheels, content, self._base_frame)
        if self._sensors[message.topic] == "imu" and histories.gyro is not None:
            return add_angular_velocity(histories.gyro, content)
        if histories.scene is not None:
            histories.scene.add(content)
        return ""

"""Reads a camera's recording from a rosbag2 folder or file: raw for playing, decoded for running offline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.topics import CameraTopics, TopicSummary, find_camera
from iup_pose_ros.errors import CalibrationError, DataError, ImageError, IupPoseError
from iup_pose_ros.estimators.base import Frame
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.images import decode_compressed_image, decode_image

_FILE_SUFFIXES = (".mcap", ".db3")


@dataclass(frozen=True, eq=False)
class RecordedMessage:
    """One message of a recording.

    Attributes:
        topic: where it was published.
        time: when it was recorded, nanoseconds.
        data: serialised as CDR.
    """

    topic: str
    time: int
    data: bytes


class BagReader:
    """One camera of a rosbag2 recording (sqlite3 or mcap, compressed or not), read as a stream.

    A context manager that closes the files.

    Args:
        path: the bag's folder, or a single .mcap or .db3 file.
        image_topic: needed where the recording holds several cameras.
        info_topic: needed where camera_info does not lie beside the image topic.

    Raises:
        DataError: the bag is missing, damaged or of another kind; it holds no or several cameras. Reading on
            raises it too where the damage lies further behind.
    """

    def __init__(
        self, path: Path | str, image_topic: str | None = None, info_topic: str | None = None
    ) -> None:
        self.path = Path(path)
        self._reader = _open(self.path)
        self._types = messages.new_typestore()
        try:
            self.topics = _summaries(self._reader.connections)
            if not any(summary.count for summary in self.topics.values()):
                raise DataError("the recording holds zero messages")
            self.camera: CameraTopics = find_camera(self.topics, image_topic, info_topic)
        except IupPoseError as error:
            self._reader.close()
            raise DataError(f"bag {self.path}: {error}") from error

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        if self._reader.is_open:
            self._reader.close()

    @property
    def duration(self) -> float:
        """Seconds from the first message of any topic to the last."""
        return (self._reader.duration - 1) * 1e-9

    @property
    def image_count(self) -> int:
        """Number of images of the camera."""
        return self.topics[self.camera.image].count

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RecordedMessage]:
        """Messages as recorded, in order of time; of the camera's two topics unless ``topics`` is given.

        Raises:
            DataError: a topic is not in the bag, or the file is damaged from here on.
        """
        wanted = (self.camera.info, self.camera.image) if topics is None else tuple(topics)
        unknown = [topic for topic in wanted if topic not in self.topics]
        if unknown:
            raise DataError(f"bag {self.path} has no topic {unknown[0]}; it has {', '.join(self.topics)}")
        connections = [entry for entry in self._reader.connections if entry.topic in wanted]
        stream = self._reader.messages(connections) if connections else iter(())
        while True:
            try:
                connection, time, data = next(stream)
            except StopIteration:
                return
            except Exception as error:  # whatever SQLite, zstd, lz4 and the MCAP parser raise on damage
                raise DataError(f"bag {self.path} is damaged or truncated: {error}") from error
            yield RecordedMessage(connection.topic, time, bytes(data))

    def decoded(self, topic: str) -> Iterator[Any]:
        """Messages of one topic, deserialised.

        Raises:
            DataError: there is no such topic, its type is not known, or the file is damaged from here on.
        """
        for message in self.messages([topic]):
            yield self._deserialized(message, self.topics[topic].kind)

    def image_stamps(self) -> Iterator[int]:
        """Stamps in nanoseconds of the camera's images, in order of recording; the pixels are not touched."""
        for message in self.messages([self.camera.image]):
            yield messages.header_stamp(message.data)

    @functools.cached_property
    def camera_frame(self) -> str:
        """The camera's optical frame, as its first image says; empty where it does not.

        Raises:
            DataError: the first image cannot be read.
        """
        for image in self.decoded(self.camera.image):
            return str(image.header.frame_id)
        raise DataError(f"bag {self.path} holds zero messages on {self.camera.image}")

    def frames(
        self,
        stamps: Collection[int] | None = None,
        on_bad_image: Callable[[int, IupPoseError], None] | None = None,
    ) -> Iterator[Frame]:
        """Images of the camera in order of time, decoded and undistorted by the camera_info of the time.

        Args:
            stamps: nanoseconds; only these images where given.
            on_bad_image: takes stamp and fault of an image that is of no use, which is then left out; without
                it the fault is raised.

        Raises:
            DataError: the file is damaged or a message is not what its topic promises.
            ImageError, CalibrationError: an image or calibration that is of no use.
        """
        info = self._first_info()
        rectify = LazyRectifier(info)
        for message in self.messages():
            if message.topic == self.camera.info:
                latest = self._deserialized(message, messages.CAMERA_INFO)
                if not _same_calibration(info, latest):
                    info, rectify = latest, LazyRectifier(latest)
                continue
            stamp = messages.header_stamp(message.data)
            if stamps is not None and stamp not in stamps:
                continue
            image = self._deserialized(message, self.camera.image_kind)
            try:
                frame = self._frame(image, rectify)
            except (ImageError, CalibrationError) as fault:
                if on_bad_image is None:
                    raise
                on_bad_image(stamp, fault)
            else:
                yield frame

    def _frame(self, image: Any, rectify: LazyRectifier) -> Frame:
        decode = decode_image if self.camera.image_kind == messages.IMAGE else decode_compressed_image
        pixels = decode(image)
        rectifier = rectify.of_size(pixels.shape[1], pixels.shape[0])
        return Frame(
            image=rectifier.rectify(pixels),
            intrinsics=rectifier.intrinsics,
            stamp=messages.stamp_of(image) * 1e-9,
            frame_id=image.header.frame_id,
        )

    def _first_info(self) -> Any:
        for info in self.decoded(self.camera.info):
            return info
        raise DataError(f"bag {self.path} holds zero messages on {self.camera.info}")

    def _deserialized(self, message: RecordedMessage, kind: str) -> Any:
        try:
            return messages.deserialize(message.data, kind, self._typestore(kind))
        except DataError as error:
            raise DataError(f"bag {self.path}, {message.topic} at {message.time} ns: {error}") from error

    def _typestore(self, kind: str) -> Typestore:
        """Where the type is defined: by ROS, or else by the bag itself."""
        if kind in self._types.fielddefs:
            return self._types
        for connection in self._reader.connections:
            definition = connection.msgdef
            if connection.msgtype == kind and definition.format is MessageDefinitionFormat.MSG:
                self._types.register(get_types_from_msg(definition.data, kind))
                return self._types
        raise DataError(f"the bag does not define the type {kind}; recordings in mcap define all their types")


class LazyRectifier:
    """The rectifier of one camera_info, made with its first image, so that its faults are the image's."""

    def __init__(self, info: Any) -> None:
        self._info = info
        self._rectifier: Rectifier | None = None

    def of_size(self, width: int, height: int) -> Rectifier:
        """The rectifier, for images of so many pixels.

        Raises:
            CalibrationError: the calibration is of no use, or for images of another size.
        """
        info = self._info
        if (info.width, info.height) != (width, height):
            raise CalibrationError(
                f"camera_info is for images of {info.width}x{info.height} pixels, "
                f"but the image has {width}x{height}"
            )
        if self._rectifier is None:
            self._rectifier = Rectifier(
                info.k.tolist(), info.d.tolist(), info.distortion_model, info.width, info.height
            )
        return self._rectifier


def _open(path: Path) -> Reader:
    if not path.exists():
        raise DataError(f"bag {path} does not exist")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise DataError(
            f"bag {path} has no metadata.yaml: not a rosbag2 folder, or its recording was cut off "
            "(`ros2 bag reindex` makes a new one)"
        )
    if path.is_file() and path.suffix not in _FILE_SUFFIXES:
        raise DataError(f"{path} is not a rosbag2 recording; a folder or a .mcap or .db3 file is needed")
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # whatever SQLite, YAML, zstd and the MCAP parser raise on damage
        raise DataError(f"bag {path} cannot be read, it is damaged or truncated: {error}") from error
    return reader


def _summaries(connections: list[Connection]) -> dict[str, TopicSummary]:
    """Type and count by topic; a topic recorded from several publishers has several connections."""
    summaries: dict[str, TopicSummary] = {}
    for connection in connections:
        known = summaries.get(connection.topic, TopicSummary(connection.msgtype, 0))
        summaries[connection.topic] = TopicSummary(known.kind, known.count + connection.msgcount)
    return summaries


def _same_calibration(first: Any, second: Any) -> bool:
    def values(info: Any) -> tuple[Any, ...]:
        return (info.width, info.height, info.distortion_model, info.k.tolist(), info.d.tolist())

    return values(first) == values(second)

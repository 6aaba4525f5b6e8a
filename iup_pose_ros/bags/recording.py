"""Reading of a rosbag2 recording, folder or file, as a stream of messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_msg

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.topics import TopicSummary
from iup_pose_ros.errors import DataError

AnyRecording = TypeVar("AnyRecording", bound="Recording")

_FILE_SUFFIXES = (".mcap", ".db3")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, eq=False)
class RecordedMessage:
    """One message of a recording.

    Attributes:
        topic: its topic.
        time: receive time, nanoseconds.
        data: serialised as CDR.
    """

    topic: str
    time: int
    data: bytes


class Recording:
    """A rosbag2 recording (sqlite3 or mcap, compressed or not), read with constant memory.

    A context manager that closes the files.

    Args:
        path: the bag's folder, or a single .mcap or .db3 file.

    Raises:
        DataError: the bag is missing, damaged or of another kind, or holds no message. Later damage in the
            file raises it while reading.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reader = _open(self.path)
        self._types = messages.new_typestore()
        # A topic recorded from several publishers has several connections.
        self.topics: dict[str, TopicSummary] = {}
        for connection in self._reader.connections:
            known = self.topics.get(connection.topic, TopicSummary(connection.msgtype, 0))
            count = known.count + connection.msgcount
            self.topics[connection.topic] = TopicSummary(known.kind, count)
        if not any(summary.count for summary in self.topics.values()):
            self.close()
            raise DataError(f"bag {self.path}: the recording holds zero messages")

    def __enter__(self: AnyRecording) -> AnyRecording:
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

    def messages(self, topics: Collection[str]) -> Iterator[RecordedMessage]:
        """Yield the messages on these topics as recorded, ordered by time.

        Raises:
            DataError: a topic is not in the bag, or the file is damaged.
        """
        unknown = [topic for topic in topics if topic not in self.topics]
        if unknown:
            raise DataError(f"bag {self.path} has no topic {unknown[0]}; it has {', '.join(self.topics)}")
        connections = [entry for entry in self._reader.connections if entry.topic in topics]
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
        """Yield the messages of one topic, deserialised.

        Raises:
            DataError: the topic does not exist, its type is unknown, or the file is damaged.
        """
        for message in self.messages([topic]):
            yield self.deserialized(message, self.topics[topic].kind)

    def deserialized(self, message: RecordedMessage, kind: str) -> Any:
        """Return a recorded message of type ``kind``.

        Raises:
            DataError: it is not such a message, or the type is unknown.
        """
        try:
            if message.data.startswith(_ZSTD_MAGIC):
                raise DataError(
                    "the message is compressed; give the bag's folder, whose metadata.yaml says how"
                )
            if kind not in self._types.fielddefs:
                # Types that are not part of ROS are defined by the bag itself.
                definitions = [
                    connection.msgdef.data
                    for connection in self._reader.connections
                    if connection.msgtype == kind and connection.msgdef.format is MessageDefinitionFormat.MSG
                ]
                if not definitions:
                    raise DataError(
                        f"the bag does not define the type {kind}; recordings in mcap define all their types"
                    )
                self._types.register(get_types_from_msg(definitions[0], kind))
            return messages.deserialize(message.data, kind, self._types)
        except DataError as error:
            raise DataError(f"bag {self.path}, {message.topic} at {message.time} ns: {error}") from error


def _open(path: Path) -> Reader:
    """Open a recording; raise DataError, with the remedy, if it is not a readable rosbag2."""
    if not path.exists():
        raise DataError(f"bag {path} does not exist")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise DataError(
            f"bag {path} has no metadata.yaml: not a rosbag2 folder, or its recording was interrupted "
            "(`ros2 bag reindex` restores it)"
        )
    if path.is_file() and path.suffix == ".bag":
        raise DataError(
            f"{path} is a ROS 1 bag; convert it to rosbag2: `rosbags-convert --src {path} --dst {path.stem}`"
        )
    if path.is_file() and path.suffix not in _FILE_SUFFIXES:
        raise DataError(
            f"{path} is not a rosbag2 recording; a .mcap or .db3 file is required, or the recording's "
            "folder, also if its files are compressed"
        )
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # whatever SQLite, YAML, zstd and the MCAP parser raise on damage
        if "serialization" in str(error).lower():
            raise DataError(
                f"bag {path}: {error}; only serialization format cdr, which ROS 2 writes, is supported"
            ) from error
        is_mcap = path.suffix == ".mcap" or any(path.glob("*.mcap"))
        remedy = "; `mcap recover` saves the messages of a recording that was interrupted" if is_mcap else ""
        raise DataError(f"bag {path} cannot be read, it is damaged or truncated: {error}{remedy}") from error
    return reader

"""Detection of the topics of a recording: images, camera_info and sensors beside the camera."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from iup_pose_ros.bags.messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from iup_pose_ros.errors import DataError
from iup_pose_ros.images import VIDEO_REMEDY

# Accepted types by the name that the node uses for the topic.
_SENSOR_KINDS = {
    "mask": (IMAGE,),
    "depth": (IMAGE, COMPRESSED_IMAGE),
    "range": ("sensor_msgs/msg/Range",),
    "wheel_odometry": ("nav_msgs/msg/Odometry",),
    "imu": ("sensor_msgs/msg/Imu",),
}
_VIDEO_KINDS = ("FFMPEGPacket", "CompressedVideo")
_COMPRESSED_SUFFIX, _DEPTH_SUFFIX = "/compressed", "/compressedDepth"


@dataclass(frozen=True)
class TopicSummary:
    """Type and number of messages of one topic."""

    kind: str
    count: int


@dataclass(frozen=True)
class CameraTopics:
    """The topics of one camera and the type of its images."""

    image: str
    info: str
    image_kind: str


@dataclass(frozen=True)
class SensorTopics:
    """Topics of a recording beside its camera; None: no mask, or the only topic that a sensor can have."""

    mask: str | None = None
    depth: str | None = None
    range: str | None = None
    wheel_odometry: str | None = None
    imu: str | None = None


def find_camera(
    topics: Mapping[str, TopicSummary], image_topic: str | None = None, info_topic: str | None = None
) -> CameraTopics:
    """Return the only camera among ``topics`` with messages on both of its topics.

    camera_info is in the namespace of the images (``/a/image`` and ``/a/camera_info``), or the only one of
    the recording. An Image topic is preferred to its compressed copy, unless the copy is given.

    Raises:
        DataError: there is no camera, or more than one (the message lists them); a given topic is missing,
            of another type or empty.
    """
    if image_topic is not None:
        check_topic(topics, image_topic, (IMAGE, COMPRESSED_IMAGE))
    if info_topic is not None:
        check_topic(topics, info_topic, (CAMERA_INFO,))
    images = [image_topic] if image_topic is not None else _image_topics(topics)
    if not images:
        is_video = any(kind in summary.kind for summary in topics.values() for kind in _VIDEO_KINDS)
        remedy = f"; {VIDEO_REMEDY}" if is_video else ""
        raise DataError(
            f"no messages of sensor_msgs/Image or CompressedImage; topics: {_listed(topics)}{remedy}"
        )
    # camera_info in the image's namespace, or the only one of the recording.
    filled = [topic for topic, summary in topics.items() if summary.kind == CAMERA_INFO and summary.count]
    only = filled[0] if len(filled) == 1 and len(_image_topics(topics)) == 1 else None
    pairs = [
        (image, info_topic or (_sibling(image) if _sibling(image) in filled else only)) for image in images
    ]
    complete = [(image, info) for image, info in pairs if info is not None]
    if not complete:
        raise DataError(
            f"image topic {' and '.join(images)} without camera_info: no messages on "
            f"{' or '.join(_sibling(image) for image in images)}; give the camera_info topic, "
            f"sensor_msgs/CameraInfo topics are: {_listed(topics, CAMERA_INFO)}"
        )
    if len(complete) > 1:
        listed = "; ".join(f"{image} with {info}" for image, info in complete)
        raise DataError(f"{len(complete)} cameras; give the image topic of one: {listed}")
    image, info = complete[0]
    return CameraTopics(image, info, topics[image].kind)


def find_sensor(
    topics: Mapping[str, TopicSummary], sensor: str, given: str | None, others: Collection[str | None]
) -> str:
    """Return the topic of a sensor: the given one or else the only one of an accepted type.

    Args:
        topics: the topics of the recording.
        sensor: name of a field of SensorTopics. The name of a depth topic must contain "depth" unless it is
            given; an Image topic is preferred to its compressed copy.
        given: topic that the user gives.
        others: topics that are known to be of other sensors.

    Raises:
        DataError: there is no such topic, or more than one; the given topic is missing, of another type or
            empty.
    """
    kinds = _SENSOR_KINDS[sensor]
    if given is not None:
        check_topic(topics, given, kinds)
        return given
    found = [topic for topic, each in topics.items() if each.kind in kinds and each.count]
    found = [topic for topic in found if topic not in others and (sensor != "depth" or "depth" in topic)]
    found = [topic for topic in found if topics[topic].kind == kinds[0]] or found
    if len(found) == 1:
        return found[0]
    option = f"--{sensor.replace('_', '-')}-topic"
    accepted = f"{' or '.join(kinds)} is required" if not found else f"give one of them by {option}"
    raise DataError(f"{len(found)} topics for {sensor}: {', '.join(sorted(found)) or 'none'}; {accepted}")


def _image_topics(topics: Mapping[str, TopicSummary]) -> list[str]:
    """Return the image topics with messages, without compressed copies of others and compressed depth."""
    raw = [topic for topic, summary in topics.items() if summary.kind == IMAGE and summary.count]
    compressed = [
        topic
        for topic, summary in topics.items()
        if summary.kind == COMPRESSED_IMAGE
        and summary.count
        and _base(topic) not in raw
        and not topic.endswith(_DEPTH_SUFFIX)
    ]
    return sorted(raw + compressed)


def _base(image: str) -> str:
    return image.removesuffix(_COMPRESSED_SUFFIX)


def _sibling(image: str) -> str:
    return f"{_base(image).rpartition('/')[0]}/camera_info"


def check_topic(topics: Mapping[str, TopicSummary], topic: str, kinds: tuple[str, ...]) -> None:
    """Raise DataError unless a recording has messages of one of the types ``kinds`` on a topic."""
    summary = topics.get(topic)
    if summary is None:
        raise DataError(f"there is no topic {topic}; topics: {_listed(topics)}")
    if summary.kind not in kinds:
        raise DataError(f"topic {topic} is of type {summary.kind}; {' or '.join(kinds)} is required")
    if summary.count == 0:
        raise DataError(f"topic {topic} holds zero messages; topics: {_listed(topics)}")


def _listed(topics: Mapping[str, TopicSummary], kind: str = "") -> str:
    """Return a list of the topics, or of those of one type, with type and number of messages."""
    lines = [
        f"{topic} ({summary.kind}, {summary.count})"
        for topic, summary in sorted(topics.items())
        if not kind or summary.kind == kind
    ]
    return ", ".join(lines) or "none"

"""Reading of one camera of a rosbag2 recording."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.recording import RecordedMessage, Recording
from iup_pose_ros.bags.topics import CameraTopics, SensorTopics, check_topic, find_camera
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import CalibrationError, DataError, ImageError, IupPoseError
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.message_poses import frame_name
from iup_pose_ros.stamps import NANOSECONDS, epoch_seconds
from iup_pose_ros.types import Frame

_DEFAULT_CONFIG = CameraConfig()
_NO_SENSORS = SensorTopics()


class MaskFinder:
    """Finds the masks of images, in ascending order of stamps.

    Args:
        masks: sensor_msgs/Image in ascending order of stamps.
        timeout: maximum seconds from the stamp of a mask to that of an image.
    """

    def __init__(self, masks: Iterator[Any], timeout: float) -> None:
        self._masks = masks
        self._timeout = round(timeout * NANOSECONDS)
        self._mask: Any = None
        self._next = next(masks, None)

    def image(self, stamp: int) -> Any | None:
        """Return the last mask up to the stamp of an image, nanoseconds; None if it is older than allowed."""
        while self._next is not None and messages.stamp_of(self._next) <= stamp:
            self._mask, self._next = self._next, next(self._masks, None)
        is_recent = self._mask is not None and stamp - messages.stamp_of(self._mask) <= self._timeout
        return self._mask if is_recent else None


class BagReader(Recording):
    """One camera of a rosbag2 recording.

    Args:
        path: the bag's folder, or a single .mcap or .db3 file.
        image_topic: required if the recording holds several cameras.
        info_topic: required if camera_info is not in the image topic's namespace.
        config: settings for reading images and camera_info.
        sensors: topics of masks and of other sensors; an image topic among them is not the camera's.

    Raises:
        DataError: as Recording; or the recording holds no or several cameras.
    """

    def __init__(
        self,
        path: Path | str,
        image_topic: str | None = None,
        info_topic: str | None = None,
        config: CameraConfig = _DEFAULT_CONFIG,
        sensors: SensorTopics = _NO_SENSORS,
    ) -> None:
        super().__init__(path)
        self.config = config
        self.sensors = sensors
        self._warnings: dict[str, None] = {}
        try:
            if sensors.mask is not None:
                check_topic(self.topics, sensors.mask, (messages.IMAGE,))
            others = (sensors.mask, sensors.depth)
            cameras = {topic: kind for topic, kind in self.topics.items() if topic not in others}
            self.camera: CameraTopics = find_camera(cameras, image_topic, info_topic)
        except DataError as error:
            self.close()
            raise DataError(f"bag {self.path}: {error}") from error

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the calibrations of the frames so far, one sentence each."""
        return tuple(self._warnings)

    @property
    def image_count(self) -> int:
        """Number of images of the camera."""
        return self.topics[self.camera.image].count

    def camera_messages(self) -> Iterator[RecordedMessage]:
        """Yield images and camera_info as recorded, ordered by time."""
        return self.messages((self.camera.info, self.camera.image))

    def image_stamps(self) -> Iterator[int]:
        """Yield the stamps in nanoseconds of the images, in recorded order, without decoding them."""
        for message in self.messages([self.camera.image]):
            yield messages.header_stamp(message.data)

    @functools.cached_property
    def camera_frame(self) -> str:
        """The camera's optical frame, from its first image; may be empty.

        Raises:
            DataError: the first image cannot be read.
        """
        for image in self.decoded(self.camera.image):
            return frame_name(image.header.frame_id)
        raise DataError(f"bag {self.path} holds zero messages on {self.camera.image}")

    def masks(self, timeout: float) -> MaskFinder:
        """Return the masks of the images; ``timeout`` is the maximum seconds from a mask to its image."""
        topic = self.sensors.mask
        return MaskFinder(iter(()) if topic is None else self.decoded(topic), timeout)

    def pairs(
        self, stamps: Collection[int] | None = None, seconds: float = math.inf
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the images of the camera with the latest camera_info, before the first one with the first.

        Args:
            stamps: nanoseconds; if given, only these images.
            seconds: from the first image's time of recording to the last one that is read.

        Raises:
            DataError: the file is damaged or a message does not have the type of its topic.
        """
        info = next(self.decoded(self.camera.info), None)
        if info is None:
            raise DataError(f"bag {self.path} holds zero messages on {self.camera.info}")
        start: int | None = None
        for message in self.camera_messages():
            if message.topic == self.camera.info:
                info = self.deserialized(message, messages.CAMERA_INFO)
                continue
            start = message.time if start is None else start
            if message.time - start > seconds * NANOSECONDS:
                return
            if stamps is None or messages.header_stamp(message.data) in stamps:
                yield self.deserialized(message, self.camera.image_kind), info

    def frames(
        self,
        stamps: Collection[int] | None = None,
        on_bad_image: Callable[[int, IupPoseError], None] | None = None,
    ) -> Iterator[Frame]:
        """Yield the images of the camera ordered by time, decoded and undistorted by the latest camera_info.

        Args:
            stamps: nanoseconds; if given, only these images.
            on_bad_image: called with stamp and error of an unusable image, which is then skipped; without it
                the error is raised.

        Raises:
            DataError: the file is damaged or a message does not have the type of its topic.
            ImageError, CalibrationError: an image or calibration is unusable.
        """
        compressed = self.camera.image_kind == messages.COMPRESSED_IMAGE
        builder = FrameBuilder(epoch_seconds, compressed, self.config, self.camera.image)
        masks = self.masks(self.config.mask_timeout)
        for image, info in self.pairs(stamps):
            stamp = messages.stamp_of(image)
            try:
                frame = builder.build(image, info, masks.image(stamp))
            except (ImageError, CalibrationError) as fault:
                if on_bad_image is None:
                    raise
                on_bad_image(stamp, fault)
            else:
                self._warnings.update(dict.fromkeys(builder.warnings))
                yield frame

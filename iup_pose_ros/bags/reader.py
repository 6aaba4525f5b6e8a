"""Reads one camera of a rosbag2 recording."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.recording import RecordedMessage, Recording
from iup_pose_ros.bags.topics import CameraTopics, find_camera
from iup_pose_ros.errors import CalibrationError, DataError, ImageError, IupPoseError
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.images import decode_compressed_image, decode_image
from iup_pose_ros.types import Frame


class BagReader(Recording):
    """One camera of a rosbag2 recording.

    Args:
        path: the bag's folder, or a single .mcap or .db3 file.
        image_topic: needed where the recording holds several cameras.
        info_topic: needed where camera_info does not lie beside the image topic.

    Raises:
        DataError: as for any recording; or it holds no or several cameras.
    """

    def __init__(
        self, path: Path | str, image_topic: str | None = None, info_topic: str | None = None
    ) -> None:
        super().__init__(path)
        try:
            self.camera: CameraTopics = find_camera(self.topics, image_topic, info_topic)
        except DataError as error:
            self.close()
            raise DataError(f"bag {self.path}: {error}") from error

    @property
    def image_count(self) -> int:
        """Number of images of the camera."""
        return self.topics[self.camera.image].count

    def camera_messages(self) -> Iterator[RecordedMessage]:
        """Images and camera_info as recorded, in order of time."""
        return self.messages((self.camera.info, self.camera.image))

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
        for message in self.camera_messages():
            if message.topic == self.camera.info:
                latest = self.deserialized(message, messages.CAMERA_INFO)
                if not _same_calibration(info, latest):
                    info, rectify = latest, LazyRectifier(latest)
                continue
            stamp = messages.header_stamp(message.data)
            if stamps is not None and stamp not in stamps:
                continue
            image = self.deserialized(message, self.camera.image_kind)
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


def _same_calibration(first: Any, second: Any) -> bool:
    def values(info: Any) -> tuple[Any, ...]:
        return (info.width, info.height, info.distortion_model, info.k.tolist(), info.d.tolist())

    return values(first) == values(second)

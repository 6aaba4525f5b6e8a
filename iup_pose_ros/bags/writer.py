"""Writing of the recording of one camera as a rosbag2 folder, message by message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from iup_pose_ros.atomic import atomic_directory
from iup_pose_ros.bags import messages
from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose

TRUTH_TOPIC = "/ground_truth"
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

_UNLIMITED = QosTime(sec=2147483647, nsec=4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _UNLIMITED,
    _UNLIMITED,
    QosLiveliness.AUTOMATIC,
    _UNLIMITED,
    False,
)


@dataclass(frozen=True)
class CameraNames:
    """Topics and frame of the recorded camera."""

    image_topic: str = "/camera/image"
    info_topic: str = "/camera/camera_info"
    frame_id: str = "camera_optical"


@dataclass(frozen=True, eq=False)
class CameraExtrinsics:
    """Pose of the camera in the base frame, recorded once on /tf_static."""

    T_base_camera: Pose
    base_frame: str = "base_link"


class CameraBagWriter:
    """An open bag, created by ``write_camera_bag``. Every image is written with a camera_info of its stamp.

    Receive times equal the stamps, so that players reproduce the timing of the camera.
    """

    def __init__(self, writer: Writer, calibration: CameraCalibration, names: CameraNames) -> None:
        self._writer = writer
        self._calibration = calibration
        self._names = names
        self._connections: dict[str, Connection] = {}

    def write_image(self, stamp: int, image: NDArray[np.uint8]) -> None:
        """Write uint8 (H, W, 3) RGB or (H, W) grey taken at ``stamp`` nanoseconds.

        Raises:
            ImageError: the array has another type or shape.
            DataError: the image has another size than the calibration.
        """
        message = messages.image_message(image, stamp, self._names.frame_id)
        expected = self._calibration.intrinsics
        if (message.width, message.height) != (expected.width, expected.height):
            raise DataError(
                f"image is {message.width}x{message.height} pixels, "
                f"its calibration is for {expected.width}x{expected.height}"
            )
        self._write_with_info(stamp, message, messages.IMAGE)

    def write_compressed(self, stamp: int, data: bytes, encoding: str) -> None:
        """Write an image file taken at ``stamp`` nanoseconds; ``encoding`` is "jpeg" or "png"."""
        message = messages.compressed_image_message(data, encoding, stamp, self._names.frame_id)
        self._write_with_info(stamp, message, messages.COMPRESSED_IMAGE)

    def write_truth(self, stamp: int, T_world_camera: Pose) -> None:
        """Write the ground-truth pose on /ground_truth, as geometry_msgs/PoseStamped in frame "world"."""
        message = messages.pose_message(T_world_camera, stamp, "world")
        self._write(TRUTH_TOPIC, messages.POSE_STAMPED, stamp, message)

    def write_extrinsics(self, stamp: int, extrinsics: CameraExtrinsics) -> None:
        """Write the camera's extrinsics as a static transform."""
        message = messages.extrinsics_message(
            extrinsics.T_base_camera, extrinsics.base_frame, self._names.frame_id, stamp
        )
        self._write("/tf_static", messages.TF_MESSAGE, stamp, message, (_LATCHED,))

    def _write_with_info(self, stamp: int, image: Any, kind: str) -> None:
        info = messages.camera_info_message(self._calibration, stamp, self._names.frame_id)
        # The small message first, so that a subscriber has the pair as soon as the image arrives.
        self._write(self._names.info_topic, messages.CAMERA_INFO, stamp, info)
        self._write(self._names.image_topic, kind, stamp, image)

    def _write(self, topic: str, kind: str, stamp: int, message: Any, qos: tuple[Qos, ...] = ()) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=messages.typestore(), offered_qos_profiles=qos
            )
        self._writer.write(self._connections[topic], stamp, messages.serialize(message, kind))


@contextlib.contextmanager
def write_camera_bag(
    path: Path | str,
    calibration: CameraCalibration,
    names: CameraNames | None = None,
    extrinsics: CameraExtrinsics | None = None,
    storage: str = "mcap",
    start: int = 0,
) -> Iterator[CameraBagWriter]:
    """Open a bag for writing; it appears at ``path`` when the context ends without an error.

    Args:
        path: folder to create; it must not exist.
        calibration: calibration of all images.
        names: topics and frame; default /camera/image, /camera/camera_info, camera_optical.
        extrinsics: written to /tf_static at ``start`` nanoseconds if given.
        storage: "mcap" or "sqlite3".
        start: stamp of the extrinsics, not after the first image.

    Raises:
        DataError: the path exists or cannot be created; unknown storage.
    """
    path = Path(path)
    if storage not in STORAGES:
        raise DataError(f"unknown bag storage {storage!r}; accepted are {', '.join(STORAGES)}")
    # Distributions from Jazzy on can read format 8.
    with (
        atomic_directory(path, "bag") as made,
        Writer(made, version=8, storage_plugin=STORAGES[storage]) as writer,
    ):
        bag = CameraBagWriter(writer, calibration, names or CameraNames())
        if extrinsics is not None:
            bag.write_extrinsics(start, extrinsics)
        yield bag

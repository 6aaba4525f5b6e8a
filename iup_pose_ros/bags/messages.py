"""Creation and serialisation of the ROS 2 messages of a camera recording, with rosbags instead of ROS."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from iup_pose_ros import message_poses
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds
from iup_pose_ros.types import check_image

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"

# A serialised message starts with 4 bytes of encapsulation; the second one gives the byte order.
_ENCAPSULATION = 4
_STAMP_SIZE = 8


def new_typestore() -> Typestore:
    """Return a new store of the standard messages; those used here are equal in all ROS 2 distributions."""
    return get_typestore(Stores.ROS2_JAZZY)


@functools.cache
def typestore() -> Typestore:
    """Return the shared store of the standard messages; do not register types in it."""
    return new_typestore()


@dataclass(frozen=True)
class CameraCalibration:
    """Calibration of a camera as in sensor_msgs/CameraInfo.

    Attributes:
        intrinsics: intrinsics of the image as recorded, distorted or not.
        distortion: coefficients D in OpenCV's order; empty without distortion.
        model: "plumb_bob", "rational_polynomial" or "equidistant".
        skew: K[1], pixels; some calibration tools estimate it for fisheye lenses.
    """

    intrinsics: Intrinsics
    distortion: tuple[float, ...] = ()
    model: str = "plumb_bob"
    skew: float = 0.0


def serialize(message: Any, kind: str) -> bytes:
    """Return the CDR bytes of a message of type ``kind``."""
    return bytes(typestore().serialize_cdr(message, kind))


def deserialize(data: bytes, kind: str, types: Typestore | None = None) -> Any:
    """Return the message of type ``kind`` in CDR bytes; ``types`` defines non-standard types.

    Raises:
        DataError: the bytes are not such a message.
    """
    try:
        return (types or typestore()).deserialize_cdr(data, kind)
    except Exception as error:  # rosbags raises what struct, NumPy or its generated code raise
        raise DataError(f"{len(data)} bytes are not a {kind}: {error}") from error


def header(stamp: int, frame_id: str) -> Any:
    """Return a std_msgs/Header at ``stamp`` nanoseconds."""
    types = typestore().types
    seconds, rest = divmod(stamp, NANOSECONDS)
    time = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
    return types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def stamp_of(message: Any) -> int:
    """Return the stamp in nanoseconds of a message with a header."""
    return nanoseconds(message.header.stamp)


def header_stamp(data: bytes) -> int:
    """Return the stamp in nanoseconds of a serialised message that starts with a header.

    Raises:
        DataError: there are too few bytes.
    """
    if len(data) < _ENCAPSULATION + _STAMP_SIZE:
        raise DataError(f"{len(data)} bytes are not a message with a header")
    order = "<" if data[1] & 1 else ">"
    seconds, rest = struct.unpack_from(f"{order}iI", data, _ENCAPSULATION)
    return int(seconds) * NANOSECONDS + int(rest)


def image_message(image: NDArray[np.uint8], stamp: int, frame_id: str) -> Any:
    """Return a sensor_msgs/Image, rgb8 of uint8 (H, W, 3) RGB or mono8 of uint8 (H, W).

    Raises:
        ImageError: the array is neither.
    """
    check_image(image)
    colour = image.ndim == 3
    height, width = image.shape[:2]
    return typestore().types[IMAGE](
        header=header(stamp, frame_id),
        height=height,
        width=width,
        encoding="rgb8" if colour else "mono8",
        is_bigendian=0,
        step=width * (3 if colour else 1),
        data=np.ascontiguousarray(image).reshape(-1),
    )


def compressed_image_message(data: bytes, encoding: str, stamp: int, frame_id: str) -> Any:
    """Return a sensor_msgs/CompressedImage of an image file; ``encoding`` is "jpeg" or "png"."""
    return typestore().types[COMPRESSED_IMAGE](
        header=header(stamp, frame_id), format=encoding, data=np.frombuffer(data, dtype=np.uint8)
    )


def camera_info_message(calibration: CameraCalibration, stamp: int, frame_id: str) -> Any:
    """Return a sensor_msgs/CameraInfo of a monocular camera (R identity, P = [K 0])."""
    types = typestore().types
    matrix = calibration.intrinsics.matrix
    matrix[0, 1] = calibration.skew
    projection = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    region = types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    distortion = calibration.distortion or (0.0,) * 5
    return types[CAMERA_INFO](
        header=header(stamp, frame_id),
        height=calibration.intrinsics.height,
        width=calibration.intrinsics.width,
        distortion_model=calibration.model,
        d=np.array(distortion, dtype=np.float64),
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def pose_message(pose: Pose, stamp: int, frame_id: str) -> Any:
    """Return a geometry_msgs/PoseStamped of a pose in frame ``frame_id``."""
    types = typestore().types
    x, y, z, w = (float(value) for value in pose.quaternion)
    value = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](*(float(part) for part in pose.translation)),
        orientation=types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
    )
    return types[POSE_STAMPED](header=header(stamp, frame_id), pose=value)


def pose_of(message: Any) -> Pose:
    """Return the pose in a geometry_msgs/Pose of rosbags or rclpy.

    Raises:
        DataError: the quaternion is not of unit length, or a value is not finite.
    """
    return message_poses.pose_of(message.position, message.orientation)


def pose_of_transform(message: Any) -> Pose:
    """Return the pose in a geometry_msgs/Transform of rosbags or rclpy.

    Raises:
        DataError: the quaternion is not of unit length, or a value is not finite.
    """
    return message_poses.pose_of(message.translation, message.rotation)


def extrinsics_message(T_base_camera: Pose, base_frame: str, camera_frame: str, stamp: int) -> Any:
    """Return a tf2_msgs/TFMessage with the transform base_frame <- camera_frame."""
    types = typestore().types
    x, y, z, w = (float(value) for value in T_base_camera.quaternion)
    translation = (float(value) for value in T_base_camera.translation)
    transform = types["geometry_msgs/msg/Transform"](
        translation=types["geometry_msgs/msg/Vector3"](*translation),
        rotation=types["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
    )
    stamped = types["geometry_msgs/msg/TransformStamped"](
        header=header(stamp, base_frame), child_frame_id=camera_frame, transform=transform
    )
    return types[TF_MESSAGE](transforms=[stamped])

"""Image messages with their camera_info as undistorted frames.

Nothing here imports ROS: the node and the bag reader share it, with the messages of rclpy and of rosbags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.images import decode_compressed_image, decode_image
from iup_pose_ros.types import Frame


class _Calibration(NamedTuple):
    """The fields of a camera_info that determine the rectification, as Rectifier takes them."""

    matrix: tuple[float, ...]
    distortion: tuple[float, ...]
    model: str
    width: int
    height: int


class FrameBuilder:
    """Decodes and undistorts the images of one camera.

    The undistortion maps are computed anew only when the calibration changes.

    Args:
        to_seconds: converts the stamp of an image's header to the seconds of Frame.stamp.
        compressed: whether images are sensor_msgs/CompressedImage rather than sensor_msgs/Image.
        image_is_rectified: images are undistorted already: P is their camera matrix, and D is ignored.
    """

    def __init__(
        self, to_seconds: Callable[[Any], float], compressed: bool = False, image_is_rectified: bool = False
    ) -> None:
        self._to_seconds = to_seconds
        self._decode = decode_compressed_image if compressed else decode_image
        self._image_is_rectified = image_is_rectified
        self._calibration: _Calibration | None = None
        self._rectifier: Rectifier | None = None

    def build(self, image: Any, info: Any) -> Frame:
        """Return the undistorted image.

        Args:
            image: sensor_msgs/Image, or CompressedImage where ``compressed``.
            info: the sensor_msgs/CameraInfo that belongs to it.

        Raises:
            ImageError: the image cannot be decoded.
            CalibrationError: the camera is not calibrated, or for images of another size.
        """
        pixels = self._decode(image)
        rectifier = self.rectifier(info, pixels.shape[1], pixels.shape[0])
        rectified = rectifier.rectify(pixels)
        stamp = self._to_seconds(image.header.stamp)
        return Frame(rectified, rectifier.intrinsics, stamp, image.header.frame_id)

    def rectifier(self, info: Any, width: int, height: int) -> Rectifier:
        """Return the rectifier for images of width x height pixels that come with this camera_info.

        Raises:
            CalibrationError: the camera is not calibrated, or for images of another size.
        """
        calibration = self._calibration_of(info)
        if not any(calibration.matrix):
            name = "projection matrix P" if self._image_is_rectified else "camera matrix K"
            raise CalibrationError(f"{name} is all zero: the camera is not calibrated")
        if (calibration.width, calibration.height) != (width, height):
            raise CalibrationError(
                f"camera_info is for images of {calibration.width}x{calibration.height} pixels, "
                f"but the image has {width}x{height}"
            )
        if self._rectifier is None or calibration != self._calibration:
            self._rectifier = Rectifier(*calibration)
            self._calibration = calibration
        return self._rectifier

    def _calibration_of(self, info: Any) -> _Calibration:
        size = (int(info.width), int(info.height))
        if not self._image_is_rectified:
            return _Calibration(tuple(info.k), tuple(info.d), info.distortion_model, *size)
        matrix = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
        return _Calibration(tuple(matrix.ravel()), (), "", *size)

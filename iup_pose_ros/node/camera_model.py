"""From sensor_msgs/CameraInfo to the rectification of its images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.rectification import Rectifier


class _Calibration(NamedTuple):
    """What of a camera_info decides the rectification."""

    matrix: tuple[float, ...]
    distortion: tuple[float, ...]
    model: str
    width: int
    height: int


class CameraModel:
    """The rectifier of the last camera_info; made anew only when the calibration changes.

    Args:
        image_is_rectified: images are undistorted already: P is their camera matrix, D is ignored.
    """

    def __init__(self, image_is_rectified: bool) -> None:
        self._image_is_rectified = image_is_rectified
        self._calibration: _Calibration | None = None
        self._rectifier: Rectifier | None = None

    def rectifier(self, info: Any, width: int, height: int) -> Rectifier:
        """The rectifier for images of width x height pixels that come with this camera_info.

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

"""Undistortion of images, so that everything behind it sees a pinhole camera."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.camera import Intrinsics

_COEFFICIENT_COUNTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8, 12, 14), "equidistant": (0, 4)}
ACCEPTED_MODELS = ("", "none", *_COEFFICIENT_COUNTS)


class Rectifier:
    """Maps the images of one calibrated camera to those of a pinhole camera (maps are made once).

    The pinhole camera, ``intrinsics``, has the same image size and shows only pixels that the camera saw: the
    view is narrowed until no empty border remains, because an artificial border attracts features.

    Args:
        k: row-major camera matrix, 9 values, pixels.
        distortion: coefficients D as in sensor_msgs/CameraInfo; empty or all zero where there is none.
        model: "plumb_bob", "rational_polynomial" (OpenCV's order) or "equidistant" (fisheye).
        width: image width in pixels.
        height: image height in pixels.

    Raises:
        CalibrationError: unknown model, wrong number of coefficients, values not finite, implausible K.
    """

    def __init__(
        self, k: Sequence[float], distortion: Sequence[float], model: str, width: int, height: int
    ) -> None:
        measured = Intrinsics.from_camera_info(k, width, height)
        coefficients = _checked_coefficients(distortion, model)
        self._maps: tuple[NDArray[np.int16], NDArray[np.uint16]] | None = None
        self.intrinsics = measured
        if coefficients.any():
            self.intrinsics, self._maps = _undistortion_maps(measured, coefficients, model)

    def rectify(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistorted image of the same shape, (H, W) or (H, W, 3); the image itself without distortion."""
        if self._maps is None:
            return image
        return np.asarray(cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _checked_coefficients(distortion: Sequence[float], model: str) -> NDArray[np.float64]:
    coefficients = np.asarray(distortion, dtype=np.float64).ravel()
    if not np.all(np.isfinite(coefficients)):
        raise CalibrationError(f"distortion coefficients D = {coefficients.tolist()} are not finite")
    if model not in ACCEPTED_MODELS:
        accepted = ", ".join(repr(name) for name in ACCEPTED_MODELS)
        raise CalibrationError(f"distortion model {model!r} is not known; accepted are {accepted}")
    if not coefficients.any():
        return coefficients
    counts = _COEFFICIENT_COUNTS.get(model, (0,))
    if coefficients.size not in counts:
        raise CalibrationError(
            f"{model!r} has {coefficients.size} coefficients D; accepted are {counts} values"
        )
    return coefficients


def _undistortion_maps(
    measured: Intrinsics, coefficients: NDArray[np.float64], model: str
) -> tuple[Intrinsics, tuple[NDArray[np.int16], NDArray[np.uint16]]]:
    size = (measured.width, measured.height)
    matrix = measured.matrix
    if model == "equidistant":
        new_matrix = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            matrix, coefficients, size, np.eye(3), balance=0.0
        )
        maps = cv2.fisheye.initUndistortRectifyMap(
            matrix, coefficients, np.eye(3), new_matrix, size, cv2.CV_16SC2
        )
    else:
        new_matrix, _ = cv2.getOptimalNewCameraMatrix(matrix, coefficients, size, alpha=0.0)
        maps = cv2.initUndistortRectifyMap(matrix, coefficients, None, new_matrix, size, cv2.CV_16SC2)
    rectified = Intrinsics.from_camera_info(np.asarray(new_matrix).ravel().tolist(), *size)
    return rectified, (np.asarray(maps[0], dtype=np.int16), np.asarray(maps[1], dtype=np.uint16))

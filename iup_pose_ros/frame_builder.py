"""Conversion of image messages with their camera_info to undistorted frames.

Nothing here imports ROS: the node uses it with the messages of rclpy, the bag reader with those of rosbags.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import CalibrationError, ConfigurationError, ImageError
from iup_pose_ros.geometry.rectification import Rectifier, SensorWindow
from iup_pose_ros.images import decode_compressed_image, decode_image
from iup_pose_ros.level_mapping import LevelMapping
from iup_pose_ros.message_poses import frame_name
from iup_pose_ros.types import DepthImage, Frame

_DEFAULT_CONFIG = CameraConfig()
_MASK_ENCODINGS = ("mono8", "8UC1")
# Topics of rectified images: .../image_rect, .../image_rect_color, .../rect/image, .../rectified/image.
_RECTIFIED = re.compile(r"/(image_)?rect(ified)?(_\w+)?(/|$)")


class Calibration(NamedTuple):
    """The fields of a camera_info that determine the rectification, as Rectifier takes them.

    Attributes:
        matrix: row-major K or, of rectified images, the left part of P; of the calibrated image.
        distortion: coefficients.
        model: name of the distortion model.
        width: of the calibrated image, pixels.
        height: of the calibrated image, pixels.
        window: the region of the calibrated image that the images show.
    """

    matrix: tuple[float, ...]
    distortion: tuple[float, ...]
    model: str
    width: int
    height: int
    window: SensorWindow


class FrameBuilder:
    """Decodes and undistorts the images of one camera.

    The undistortion maps are computed again only if the calibration changes.

    Args:
        to_seconds: converts the stamp of an image's header to the seconds of Frame.stamp.
        compressed: whether images are sensor_msgs/CompressedImage rather than sensor_msgs/Image.
        config: settings.
        topic: image topic; its name may show that images are already rectified.

    Raises:
        ConfigurationError: ``mask_file`` cannot be read.
    """

    def __init__(
        self,
        to_seconds: Callable[[Any], float],
        compressed: bool = False,
        config: CameraConfig = _DEFAULT_CONFIG,
        topic: str = "",
    ) -> None:
        self._to_seconds = to_seconds
        self._decode = decode_compressed_image if compressed else decode_image
        self._levels = LevelMapping(config.level_range)
        self._config = config
        self._topic = topic
        self._static_mask = read_mask(config.mask_file) if config.mask_file else None
        self._calibration: Calibration | None = None
        self._rectifier: Rectifier | None = None
        self._warnings: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the current calibration, one sentence each."""
        return self._warnings

    def build(self, image: Any, info: Any, mask: Any = None) -> Frame:
        """Return the undistorted image with its mask.

        Args:
            image: sensor_msgs/Image, or CompressedImage if ``compressed``.
            info: the sensor_msgs/CameraInfo of the image.
            mask: sensor_msgs/Image (mono8) of the size of the image, non-zero where pixels are ignored; None:
                only those of ``mask_file``.

        Raises:
            ImageError: image or mask cannot be decoded, a mask has another size than the image, or the stamp
                is negative.
            CalibrationError: the camera is not calibrated, or camera_info is of another camera or for images
                of another size.
        """
        if image.header.stamp.sec < 0:
            raise ImageError(f"the stamp of the image is negative: {image.header.stamp.sec} s")
        # Some drivers leave the frame_id of camera_info empty; it is then accepted.
        of_image, of_info = frame_name(image.header.frame_id), frame_name(info.header.frame_id)
        if of_image and of_info and of_image != of_info and not self._config.allow_frame_mismatch:
            raise CalibrationError(
                f"camera_info has frame_id {of_info!r}, but the image has {of_image!r}: use the camera_info "
                "topic of this camera, or set allow_frame_mismatch if both are the same camera"
            )
        pixels = self._decode(image, self._levels)
        rectifier = self.rectifier(info, pixels.shape[1], pixels.shape[0])
        rectified = rectifier.rectify(pixels)
        stamp = self._to_seconds(image.header.stamp)
        ignored = self._mask(mask, pixels.shape[:2])
        if ignored is not None:
            ignored = rectifier.rectify_mask(ignored)
        return Frame(rectified, rectifier.intrinsics, stamp, of_image, ignored)

    def _mask(self, message: Any, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """Return where pixels of the image as received are ignored, (H, W); None if nowhere."""
        masks = {f"mask_file {self._config.mask_file}": self._static_mask}
        if message is not None:
            if message.encoding not in _MASK_ENCODINGS:
                raise ImageError(f"mask has encoding {message.encoding!r}; mono8 is required")
            masks["mask"] = decode_image(message)
        ignored: NDArray[np.uint8] | None = None
        for name, mask in masks.items():
            if mask is None:
                continue
            if mask.shape != shape[:2]:
                raise ImageError(
                    f"{name} has {mask.shape[1]}x{mask.shape[0]} pixels, but the image has "
                    f"{shape[1]}x{shape[0]}; a mask of the image's size is required"
                )
            ignored = mask if ignored is None else ignored | mask
        return ignored

    def undistorted_depth(self, depths: NDArray[np.float32]) -> DepthImage:
        """Return the undistorted depth image of a depth image (H, W) registered to the camera, metres.

        Raises:
            ImageError: its size is not that of the images, or no image was built yet.
        """
        rectifier = self._rectifier
        size = depths.shape[1], depths.shape[0]
        if rectifier is None:
            raise ImageError("no image was received before the depth image")
        if size != rectifier.size:
            raise ImageError(
                f"depth image has {size[0]}x{size[1]} pixels, but the image has {rectifier.size[0]}x"
                f"{rectifier.size[1]}: a depth image that is registered to the camera is required"
            )
        return DepthImage(rectifier.rectify_depth(depths), rectifier.intrinsics)

    def rectifier(self, info: Any, width: int, height: int) -> Rectifier:
        """Return the rectifier for images of width x height pixels that come with this camera_info.

        Raises:
            CalibrationError: the camera is not calibrated, or for images of another size.
        """
        calibration = calibration_of(info, width, height, self._config.image_is_rectified)
        if self._rectifier is None or calibration != self._calibration:
            self._rectifier = Rectifier(
                *calibration,
                fov=self._config.rectified_fov,
                maximum_width=self._config.maximum_image_width,
            )
            self._calibration = calibration
            self._warnings = tuple(self._rectifier.warnings)
            if _RECTIFIED.search(self._topic) and any(calibration.distortion):
                self._warnings += (
                    f"the name of {self._topic} indicates rectified images, but camera_info has distortion "
                    "coefficients D, which are applied: set image_is_rectified if the images are rectified",
                )
        return self._rectifier


def read_mask(file: str) -> NDArray[np.uint8]:
    """Return the mask (H, W) in an image file, non-zero where pixels are ignored.

    Raises:
        ConfigurationError: the file is missing or is no image.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"mask_file {path} does not exist")
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ConfigurationError(f"mask_file {path} is not an image that OpenCV reads, for example PNG")
    return np.asarray(mask, dtype=np.uint8)


def calibration_of(info: Any, width: int, height: int, image_is_rectified: bool) -> Calibration:
    """Return the calibration in a sensor_msgs/CameraInfo for images of width x height pixels.

    Raises:
        CalibrationError: the camera is not calibrated, or for images of another size.
    """
    matrix = tuple(float(value) for value in info.k)
    if image_is_rectified:
        matrix = tuple(np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3].ravel().tolist())
    if not any(matrix):
        name = "projection matrix P" if image_is_rectified else "camera matrix K"
        raise CalibrationError(f"{name} is all zero: the camera is not calibrated")
    size = (int(info.width), int(info.height))
    window = _window(info, width, height)
    if image_is_rectified:
        return Calibration(matrix, (), "", *size, window)
    distortion = tuple(float(value) for value in info.d)
    return Calibration(matrix, distortion, info.distortion_model, *size, window)


def _window(info: Any, width: int, height: int) -> SensorWindow:
    """Return the region of the calibrated image that an image of width x height pixels shows.

    An image of the calibrated size shows all of it; region of interest and binning are then ignored, because
    many drivers adapt K themselves and still report both.
    """
    if (width, height) == (info.width, info.height):
        return SensorWindow(0, 0, width, height)
    roi, binning = info.roi, (max(int(info.binning_x), 1), max(int(info.binning_y), 1))
    has_region = roi.width > 0 and roi.height > 0
    region = (roi.width, roi.height) if has_region else (info.width, info.height)
    # If the binning does not divide the size, some drivers round down and others up.
    fits = [
        0 <= part - binned * size < binned or 0 <= binned * size - part < binned
        for part, binned, size in zip(region, binning, (width, height), strict=True)
    ]
    if not all(fits) or (not has_region and binning == (1, 1)):
        raise CalibrationError(
            f"camera_info is for images of {info.width}x{info.height} pixels"
            + (f", region of interest {roi.width}x{roi.height}" if has_region else "")
            + (f", binning {binning[0]}x{binning[1]}" if binning != (1, 1) else "")
            + f", but the image has {width}x{height}"
        )
    left, top = (int(roi.x_offset), int(roi.y_offset)) if has_region else (0, 0)
    if left + region[0] > info.width or top + region[1] > info.height:
        raise CalibrationError(
            f"the region of interest in camera_info, {roi.width}x{roi.height} at ({left}, {top}), reaches "
            f"beyond its image of {info.width}x{info.height} pixels"
        )
    return SensorWindow(left, top, width, height, *binning)

"""Images and image pairs of data sets; files are read on demand."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import CalibrationError, DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.images import decode_file
from iup_pose_ros.types import Picture

Depth = NDArray[np.float32]

# ScanNet's image sizes of one camera, 1296x968 and 640x480, differ by half a percent in aspect ratio.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An undistorted image with its intrinsics and depth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        intrinsics: pinhole intrinsics of this image.
        depth: (H, W) depth along the optical axis in metres (or the data set's unit); 0: unknown.
    """

    image: Picture
    intrinsics: Intrinsics
    depth: Depth


@dataclass(frozen=True, eq=False)
class DataSetImage:
    """Files and camera calibration of an image.

    Attributes:
        path: image file.
        K: (3, 3) camera matrix; pixel (0, 0) is the centre of the top-left pixel.
        size: width and height of the image for which K is valid; None: the size of the file. A larger image
            is downscaled to this size; for a smaller one K is scaled.
        distortion, model: see ``geometry.rectification.Rectifier``.
        depth: depth file of the stored image: .png (16 bit) or .h5 (array ``depth``); None: unknown. Ignored
            for distorted images.
        depth_unit: length of one unit of the depth file, in metres or in the data set's unit.
    """

    path: Path
    K: NDArray[np.float64]
    size: tuple[int, int] | None = None
    distortion: tuple[float, ...] = ()
    model: str = "none"
    depth: Path | None = None
    depth_unit: float = 1.0

    def load(self) -> LoadedImage:
        """Read, resize and undistort the image.

        Raises:
            DataError: a file is missing or not readable.
            CalibrationError: the camera calibration is not plausible for the image, or the aspect ratio of
                the image differs from that of ``size``.
        """
        image, K = read_image(self.path), self.K
        if self.size is not None and image.shape[1::-1] != self.size:
            image, K = scale_to_match(image, self.K, self.size, self.path)
        height, width = image.shape[:2]
        rectifier = Rectifier(K.ravel().tolist(), self.distortion, self.model, width, height)
        view = rectifier.intrinsics
        depth = np.zeros((view.height, view.width), np.float32)
        if self.depth is not None and not any(self.distortion):
            depth = resized_depth(read_depth(self.depth, self.depth_unit), width, height)
        return LoadedImage(rectifier.rectify(image), view, depth)


@dataclass(frozen=True, eq=False)
class DataSetPair:
    """Two images and the relative pose of their cameras.

    Attributes:
        images: image 0 and image 1.
        T_1_0: transforms points from the optical frame of camera 0 to that of camera 1.
        metric: whether the translation is in metres.
        overlap: fraction of the scene that is visible in both images; NaN if unknown.
        name: name of the data set or of its scene.
    """

    images: tuple[DataSetImage, DataSetImage]
    T_1_0: Pose
    metric: bool
    overlap: float = math.nan
    name: str = ""


def scale_to_match(
    image: Picture, K: NDArray[np.float64], size: tuple[int, int], path: Path
) -> tuple[Picture, NDArray[np.float64]]:
    """Scale an image or its camera matrix to the smaller of their two resolutions.

    Args:
        image: (H, W, 3).
        K: (3, 3) camera matrix.
        size: width and height of the image for which K is valid.
        path: file of the image, for the error message.

    Raises:
        CalibrationError: the aspect ratio of the image differs from that of ``size``.
    """
    height, width = image.shape[:2]
    scale = (width / size[0], height / size[1])
    if abs(scale[0] / scale[1] - 1.0) > _ASPECT_TOLERANCE:
        raise CalibrationError(
            f"{path} has {width}x{height} pixels, but its camera matrix K is for {size[0]}x{size[1]}; "
            "equal aspect ratios are required"
        )
    if scale[0] > 1.0:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), K
    # Pixel (0, 0) is the centre of the top-left pixel; scaling keeps its outer corner at (-0.5, -0.5).
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return image, np.linalg.inv(half) @ np.diag([*scale, 1.0]) @ half @ K


def read_image(path: Path) -> Picture:
    """Read an image (H, W, 3) RGB, ignoring the EXIF orientation.

    Raises:
        DataError: the file is missing.
        ImageError: it is not an image, damaged, or declares too many pixels.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = decode_file(path.read_bytes(), f"image {path}", flags)
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def read_depth(path: Path, unit: float) -> Depth:
    """Read the depth (H, W) of a .png (16 bit) or .h5 (array ``depth``) file; 0: unknown.

    Args:
        path: depth file.
        unit: length of one unit of the file.

    Raises:
        DataError: the file is missing or contains no depth, or h5py is not installed.
        ImageError: an image is damaged or declares too many pixels.
    """
    if not path.is_file():
        raise DataError(f"depth image {path} is missing")
    if path.suffix == ".h5":
        return read_h5_depth(path) * np.float32(unit)
    stored = decode_file(path.read_bytes(), f"depth image {path}", cv2.IMREAD_UNCHANGED)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise DataError(f"depth image {path} is not a single-channel 16-bit image")
    return np.asarray(stored.astype(np.float32) * np.float32(unit), dtype=np.float32)


def resized_depth(depth: Depth, width: int, height: int) -> Depth:
    """Resize depth (H, W) by nearest-neighbour sampling, which does not mix depths of different surfaces."""
    if depth.shape == (height, width):
        return depth
    rows, columns = (
        np.clip(np.rint((np.arange(new) + 0.5) * old / new - 0.5).astype(np.int64), 0, old - 1)
        for new, old in ((height, depth.shape[0]), (width, depth.shape[1]))
    )
    return depth[rows[:, None], columns]


def read_h5_depth(path: Path) -> Depth:
    """Read the array ``depth`` (H, W) of an HDF5 file, in the unit of the file.

    Raises:
        DataError: h5py is not installed, or the file is not readable or has no such array.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(f"reading {path} needs the Python package h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            if "depth" not in file:
                raise DataError(f"{path} has the arrays {sorted(file)}; 'depth' is needed")
            return np.asarray(file["depth"], dtype=np.float32)
    except OSError as error:
        raise DataError(f"{path} is not a readable HDF5 file: {error}") from error

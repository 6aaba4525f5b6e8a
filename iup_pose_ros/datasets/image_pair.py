"""Images and image pairs of data sets; files are read on demand."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.rectification import Rectifier
from iup_pose_ros.types import Picture

Depth = NDArray[np.float32]


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
        size: width and height of the image for which K is valid; the image is resized to it. None: the size
            of the file.
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
            CalibrationError: the camera calibration is not plausible for the image.
        """
        image = read_image(self.path)
        if self.size is not None and image.shape[1::-1] != self.size:
            image = np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        height, width = image.shape[:2]
        rectifier = Rectifier(self.K.ravel().tolist(), self.distortion, self.model, width, height)
        depth = np.zeros((height, width), np.float32)
        if self.depth is not None and not any(self.distortion):
            depth = resized_depth(read_depth(self.depth, self.depth_unit), width, height)
        return LoadedImage(rectifier.rectify(image), rectifier.intrinsics, depth)


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


def read_image(path: Path) -> Picture:
    """Read an image (H, W, 3) RGB, ignoring the EXIF orientation.

    Raises:
        DataError: the file is missing or not an image.
    """
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None:
        raise DataError(f"{path} is {'not a readable image' if path.exists() else 'missing'}")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def read_depth(path: Path, unit: float) -> Depth:
    """Read the depth (H, W) of a .png (16 bit) or .h5 (array ``depth``) file; 0: unknown.

    Args:
        path: depth file.
        unit: length of one unit of the file.

    Raises:
        DataError: the file is missing or contains no depth, or h5py is not installed.
    """
    if not path.is_file():
        raise DataError(f"depth image {path} is missing")
    if path.suffix == ".h5":
        return read_h5_depth(path) * np.float32(unit)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
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

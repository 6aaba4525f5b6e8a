"""An image of a data set and a pair of such images; files are read when they are asked for."""

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
from iup_pose_ros.types import Picture

Depth = NDArray[np.float32]

# ScanNet's own sizes of one camera, 1296x968 and 640x480, differ by half a percent in shape.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An undistorted image with its camera.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        intrinsics: of this image.
        depth: (H, W) metres (or the data set's unit) along the optical axis, 0 where unknown.
    """

    image: Picture
    intrinsics: Intrinsics
    depth: Depth


@dataclass(frozen=True, eq=False)
class DataSetImage:
    """Where an image and its depth lie, and the camera that took it.

    Attributes:
        path: of the image.
        K: (3, 3) camera matrix, pixel (0, 0) at the centre of the top-left pixel.
        size: width and height of the image that K belongs to; None: those of the file. A larger file is
            reduced to this size; for a smaller one K is scaled.
        distortion, model: as ``geometry.rectification.Rectifier`` takes them.
        depth: file with the depth of the stored image: .png (16 bit) or .h5 (array ``depth``); None: unknown.
            The depth of a distorted image is not used.
        depth_unit: length of one unit of the depth file.
    """

    path: Path
    K: NDArray[np.float64]
    size: tuple[int, int] | None = None
    distortion: tuple[float, ...] = ()
    model: str = "none"
    depth: Path | None = None
    depth_unit: float = 1.0

    def load(self) -> LoadedImage:
        """Read, resize and undistort.

        Raises:
            DataError: a file is missing or not readable.
            CalibrationError: the camera is not plausible for the image, or K is for one of another shape.
        """
        image, K = read_image(self.path), self.K
        if self.size is not None and image.shape[1::-1] != self.size:
            image, K = self._of_one_size(image, self.size)
        height, width = image.shape[:2]
        rectifier = Rectifier(K.ravel().tolist(), self.distortion, self.model, width, height)
        view = rectifier.intrinsics
        depth = np.zeros((view.height, view.width), np.float32)
        if self.depth is not None and not any(self.distortion):
            depth = resized_depth(read_depth(self.depth, self.depth_unit), width, height)
        return LoadedImage(rectifier.rectify(image), view, depth)

    def _of_one_size(self, image: Picture, size: tuple[int, int]) -> tuple[Picture, NDArray[np.float64]]:
        """Return image and camera matrix in the smaller of their two resolutions."""
        height, width = image.shape[:2]
        scale = (width / size[0], height / size[1])
        if abs(scale[0] / scale[1] - 1.0) > _ASPECT_TOLERANCE:
            raise CalibrationError(
                f"{self.path} has {width}x{height} pixels, but its camera matrix K is for "
                f"{size[0]}x{size[1]}: another shape, so neither can be scaled to the other"
            )
        if scale[0] > 1.0:
            return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), self.K
        # Pixel (0, 0) is the centre of the first pixel: its corner, at -0.5, stays where it is.
        half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
        return image, np.linalg.inv(half) @ np.diag([*scale, 1.0]) @ half @ self.K


@dataclass(frozen=True, eq=False)
class DataSetPair:
    """Two images and the pose between their cameras.

    Attributes:
        images: image 0 and image 1.
        T_1_0: maps points of camera 0's optical frame into camera 1's.
        metric: whether lengths are metres.
        overlap: share of surfaces that both see, NaN where the data set does not say.
        name: of the data set or of the scene in it.
    """

    images: tuple[DataSetImage, DataSetImage]
    T_1_0: Pose
    metric: bool
    overlap: float = math.nan
    name: str = ""


def read_image(path: Path) -> Picture:
    """The image (H, W, 3) RGB, turned as its pixels are stored.

    Raises:
        DataError: the file is missing or not an image.
    """
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None:
        raise DataError(f"{path} is {'not a readable image' if path.exists() else 'missing'}")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def read_depth(path: Path, unit: float) -> Depth:
    """The depth (H, W) in a .png or .h5 file, 0 where unknown.

    Raises:
        DataError: the file is missing or holds no depth.
    """
    if not path.is_file():
        raise DataError(f"depth image {path} is missing")
    if path.suffix == ".h5":
        return _read_h5(path) * np.float32(unit)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
        raise DataError(f"depth image {path} is not a one-channel image of 16 bits")
    return np.asarray(stored.astype(np.float32) * np.float32(unit), dtype=np.float32)


def resized_depth(depth: Depth, width: int, height: int) -> Depth:
    """The depth at the pixels of an image of another size; depths of two surfaces are never mixed."""
    if depth.shape == (height, width):
        return depth
    rows, columns = (
        np.clip(np.rint((np.arange(new) + 0.5) * old / new - 0.5).astype(np.int64), 0, old - 1)
        for new, old in ((height, depth.shape[0]), (width, depth.shape[1]))
    )
    return depth[rows[:, None], columns]


def _read_h5(path: Path) -> Depth:
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

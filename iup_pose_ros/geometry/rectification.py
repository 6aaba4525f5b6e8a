"""Undistortion of images, so that everything behind it sees a pinhole camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.camera import Intrinsics, plausibility_warnings
from iup_pose_ros.geometry.lens import Lens, camera_matrix
from iup_pose_ros.geometry.so3 import Array

# Degrees. Beyond this a pinhole view stretches its border more than twofold, and matching suffers.
WIDEST_AUTOMATIC_FOV = 100.0
_MIN_VIEW = 16
_AXIS_SAMPLES = 257
_GRID = 129
# A line of pixels is looked up as a grid two pixels wide.
_PAIR = np.array([0.0, 1e-6])
_SHRINKAGES = tuple(percent / 100.0 for percent in range(100, 1, -1))


@dataclass(frozen=True)
class SensorWindow:
    """The part of the calibrated image that a driver sends: region of interest and binning.

    Attributes:
        left: of the region, in pixels of the calibrated image.
        top: of the region, in pixels of the calibrated image.
        width: of the images, in their own pixels.
        height: of the images, in their own pixels.
        binning_x: so many pixels of the calibrated image side by side are one of the images.
        binning_y: the same for pixels one below the other.
    """

    left: int
    top: int
    width: int
    height: int
    binning_x: int = 1
    binning_y: int = 1

    def camera_matrix(self, k: Sequence[float]) -> Array:
        """Return K (3, 3) of the images, of the row-major K of the calibrated image; as image_pipeline does.

        Raises:
            CalibrationError: K is of no use.
        """
        matrix = camera_matrix(k).copy()
        matrix[:2, 2] -= (self.left, self.top)
        matrix[:2] /= np.array([[self.binning_x], [self.binning_y]])
        return matrix


@dataclass(frozen=True)
class _Window:
    """A rectangle of the plane z = 1 of the optical frame."""

    left: float
    top: float
    right: float
    bottom: float

    def shrunk(self, x: float, y: float, factor_x: float, factor_y: float) -> _Window:
        """Return the window with its sides drawn nearer to the point (x, y) in it."""
        return _Window(
            x + factor_x * (self.left - x),
            y + factor_y * (self.top - y),
            x + factor_x * (self.right - x),
            y + factor_y * (self.bottom - y),
        )


class Rectifier:
    """Maps the images of one calibrated camera to those of a pinhole camera (maps are computed once).

    Images wider than ``maximum_width`` are reduced first, by averaging pixels. A camera without distortion
    and skew then passes its images on. Of others the pinhole camera, ``intrinsics``, looks along the optical
    axis and shows only pixels that the camera saw, because an artificial border attracts features. Its focal
    length is that of the lens on the axis, shorter only where its image would otherwise have more pixels than
    the camera's.

    Args:
        k: row-major camera matrix, 9 values, pixels.
        distortion: coefficients D as in sensor_msgs/CameraInfo; empty or all zero where there is none.
        model: distortion model, see ``lens.ACCEPTED_MODELS``.
        width: width of the calibrated image in pixels.
        height: height of the calibrated image in pixels.
        window: the part of the calibrated image that the images show; None: all of it.
        fov: horizontal field of view of the pinhole camera in degrees; 0: as wide as the image allows, at
            most 50 degrees to either side of the axis.
        maximum_width: width in pixels to which wider images are reduced; 0: none are.

    Attributes:
        intrinsics: of the images that ``rectify`` returns.
        size: width and height of the images that ``rectify`` accepts, pixels.
        warnings: what is unusual about the calibration, a sentence each.

    Raises:
        CalibrationError: an implausible camera matrix, a lens model that is not accepted, or a field of view
            that the lens does not have.
    """

    def __init__(
        self,
        k: Sequence[float],
        distortion: Sequence[float],
        model: str,
        width: int,
        height: int,
        window: SensorWindow | None = None,
        fov: float = 0.0,
        maximum_width: int = 0,
    ) -> None:
        calibrated = _intrinsics(camera_matrix(k), width, height)
        unusual = plausibility_warnings(calibrated)
        window = window or SensorWindow(0, 0, width, height)
        self.size = (window.width, window.height)
        matrix, size = window.camera_matrix(k), self.size
        self._reduced_size: tuple[int, int] | None = None
        if 0 < maximum_width < window.width:
            size = maximum_width, max(1, round(maximum_width * window.height / window.width))
            matrix = resized_matrix(matrix, size[0] / window.width, size[1] / window.height)
            self._reduced_size = size
        lens = Lens(matrix, distortion, model, *size)
        measured = _intrinsics(lens.matrix, *size)
        self.warnings = (*unusual, *lens.warnings)
        self._maps: tuple[NDArray[np.int16], NDArray[np.uint16]] | None = None
        self.intrinsics = measured
        if not lens.is_pinhole:
            self.intrinsics = _view(_fitting_window(lens, measured, fov), measured)
            self._maps = _maps(lens, self.intrinsics)

    def rectify(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image of ``intrinsics``, (H, W) or (H, W, 3); the given one if nothing changes it."""
        if self._reduced_size is not None:
            image = np.asarray(
                cv2.resize(image, self._reduced_size, interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
        if self._maps is None:
            return image
        return np.asarray(cv2.remap(image, *self._maps, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)

    def rectify_depth(self, depths: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the undistorted depth image, (H, W), or the image itself; depths are not interpolated."""
        if self._reduced_size is not None:
            resized = cv2.resize(depths, self._reduced_size, interpolation=cv2.INTER_NEAREST)
            depths = np.asarray(resized, dtype=np.float32)
        if self._maps is None:
            return depths
        return np.asarray(cv2.remap(depths, *self._maps, interpolation=cv2.INTER_NEAREST), dtype=np.float32)

    def rectify_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the mask (H, W) of the undistorted image, 255 where any pixel of the given one is not 0."""
        binary = np.where(mask > 0, 255, 0).astype(np.uint8)
        return np.where(self.rectify(binary) > 0, 255, 0).astype(np.uint8)


def resized_matrix(matrix: Array, scale_x: float, scale_y: float) -> Array:
    """Return the camera matrix (3, 3) of resized images; (0, 0) is the centre of the top-left pixel."""
    resizing = np.array(
        [[scale_x, 0.0, 0.5 * (scale_x - 1.0)], [0.0, scale_y, 0.5 * (scale_y - 1.0)], [0.0, 0.0, 1.0]]
    )
    return np.asarray(resizing @ matrix)


def _intrinsics(matrix: Array, width: int, height: int) -> Intrinsics:
    (fx, _, cx), (_, fy, cy), _ = matrix.tolist()
    return Intrinsics(fx, fy, cx, cy, width, height)


def _fitting_window(lens: Lens, measured: Intrinsics, fov: float) -> _Window:
    """Return the largest window around the optical axis that the image covers entirely.

    Its sides lie as far from the axis as the image reaches along the coordinate axes, then are drawn in,
    keeping their proportions, until its border lies in the image, too.
    """
    limit = float(np.tan(np.radians((fov or WIDEST_AUTOMATIC_FOV) / 2.0)))
    # The anchor is the optical axis or, where the image does not show it (a region of interest), its middle.
    x = y = 0.0
    if not _sees(lens, measured, _PAIR, _PAIR)[0, 0]:
        axis = np.linspace(-limit, limit, _GRID)
        rows, columns = np.nonzero(_sees(lens, measured, axis, axis))
        if len(rows) > 0:
            x, y = float(axis[columns].mean()), float(axis[rows].mean())
    widest = _reach(lens, measured, x, y, limit)
    for factor in _SHRINKAGES:
        window = widest.shrunk(x, y, 1.0 if fov else factor, factor)
        is_wide_enough = not fov or (window.left <= -limit and window.right >= limit)
        if is_wide_enough and _covers(lens, measured, window):
            return window
    if fov:
        automatic = _fitting_window(lens, measured, 0.0)
        shown = np.degrees(2.0 * np.arctan(min(-automatic.left, automatic.right)))
        raise CalibrationError(
            f"rectified_fov is {fov:g} deg, which this lens does not show without an empty border; "
            f"accepted is 0, which takes about {shown:.0f} deg here"
        )
    raise CalibrationError(
        f"the calibration leaves no pinhole view of the {measured.width}x{measured.height} image; "
        "its distortion coefficients D do not belong to this camera matrix K"
    )


def _reach(lens: Lens, measured: Intrinsics, x: float, y: float, limit: float) -> _Window:
    """Return how far from (x, y) the image reaches along the coordinate axes, within ``limit``."""
    sides = []
    for end, horizontal in ((-limit, True), (-limit, False), (limit, True), (limit, False)):
        start, fixed = (x, y + _PAIR) if horizontal else (y, x + _PAIR)
        samples = np.linspace(start, end, _AXIS_SAMPLES)
        seen = _sees(lens, measured, *((samples, fixed) if horizontal else (fixed, samples)))
        along = seen[0] if horizontal else seen[:, 0]
        count = _AXIS_SAMPLES if along.all() else int(along.argmin())
        sides.append(float(samples[max(count - 1, 0)]))
    return _Window(*sides)


def _covers(lens: Lens, measured: Intrinsics, window: _Window) -> bool:
    """Return whether the image shows the whole border of a window."""
    if window.right <= window.left or window.bottom <= window.top:
        return False
    seen = _sees(
        lens,
        measured,
        np.linspace(window.left, window.right, _GRID),
        np.linspace(window.top, window.bottom, _GRID),
    )
    return bool(seen[0].all() and seen[-1].all() and seen[:, 0].all() and seen[:, -1].all())


def _sees(
    lens: Lens, measured: Intrinsics, x: NDArray[np.floating], y: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Return (H, W) whether the image shows the rays (x, y, 1) of a grid, see ``Lens.pixels``."""
    u, v = lens.pixels(x, y)
    inside = (u >= 0.0) & (u <= measured.width - 1.0) & (v >= 0.0) & (v <= measured.height - 1.0)
    return np.asarray(inside & (np.hypot(x[None], y[:, None]) < lens.fold), dtype=np.bool_)


def _view(window: _Window, measured: Intrinsics) -> Intrinsics:
    """Return the pinhole camera that shows a window."""
    across, down = window.right - window.left, window.bottom - window.top
    pixels = measured.fx * across * measured.fy * down
    scale = min(1.0, float(np.sqrt(measured.width * measured.height / pixels)))
    fx, fy = scale * measured.fx, scale * measured.fy
    width, height = int(fx * across + 1e-6), int(fy * down + 1e-6)
    if min(width, height) < _MIN_VIEW:
        raise CalibrationError(
            f"the lens leaves a pinhole view of {width}x{height} pixels of the {measured.width}x"
            f"{measured.height} image; at least {_MIN_VIEW}x{_MIN_VIEW} are needed"
        )
    # The borders of the window are the outer borders of the first and last pixels.
    return Intrinsics(fx, fy, -fx * window.left - 0.5, -fy * window.top - 0.5, width, height)


def _maps(lens: Lens, view: Intrinsics) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return OpenCV's fixed-point maps from the pixels of the view to those of the lens."""
    x, y = (np.arange(view.width) - view.cx) / view.fx, (np.arange(view.height) - view.cy) / view.fy
    first, second = cv2.convertMaps(*lens.pixels(x, y), cv2.CV_16SC2)
    return np.asarray(first, dtype=np.int16), np.asarray(second, dtype=np.uint16)

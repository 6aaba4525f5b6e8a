"""Pinhole intrinsics. Pixel (0, 0) is the centre of the top-left pixel: images span -0.5 to width - 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.so3 import Array


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels of an image of width x height pixels.

    Raises:
        CalibrationError: a focal length is not positive, a value is not finite, or the principal point lies
            further than one image size outside the image.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise CalibrationError(f"image size {self.width}x{self.height} is empty; at least 1x1 is needed")
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.all(np.isfinite(values)):
            raise CalibrationError(f"intrinsics (fx, fy, cx, cy) = {values} are not finite")
        if self.fx <= 0.0 or self.fy <= 0.0:
            raise CalibrationError(
                f"focal lengths fx = {self.fx}, fy = {self.fy} must be positive; the camera is not calibrated"
            )
        inside_x = -self.width <= self.cx <= 2 * self.width
        inside_y = -self.height <= self.cy <= 2 * self.height
        if not (inside_x and inside_y):
            raise CalibrationError(
                f"principal point ({self.cx}, {self.cy}) is far outside the {self.width}x{self.height} image"
            )

    @classmethod
    def from_camera_info(cls, k: Sequence[float], width: int, height: int) -> Intrinsics:
        """Intrinsics from sensor_msgs/CameraInfo's row-major K (9 values), width and height in pixels.

        Raises:
            CalibrationError: K is all zero (an uncalibrated camera), not 9 values, skewed, or not plausible.
        """
        matrix = np.asarray(k, dtype=np.float64).ravel()
        if matrix.size != 9:
            raise CalibrationError(f"camera matrix K has {matrix.size} values, 9 are needed")
        if not matrix.any():
            raise CalibrationError("camera matrix K is all zero: the camera is not calibrated")
        fx, skew, cx, _, fy, cy = matrix[:6]
        if abs(skew) > 1e-6 * abs(fx):
            raise CalibrationError(f"camera matrix K has skew {skew}; only pinhole cameras without skew work")
        return cls(float(fx), float(fy), float(cx), float(cy), int(width), int(height))

    @property
    def matrix(self) -> Array:
        """The 3x3 camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def resized(self, width: int, height: int) -> Intrinsics:
        """Intrinsics of the same view resized to width x height pixels."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Intrinsics of the window of width x height pixels whose top-left pixel is (left, top)."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def rays(self, pixels: Array) -> Array:
        """Viewing rays (..., 3) with z = 1 in the optical frame, of pixels (..., 2)."""
        pixels = np.asarray(pixels, dtype=np.float64)
        x = (pixels[..., 0] - self.cx) / self.fx
        y = (pixels[..., 1] - self.cy) / self.fy
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    def project(self, points: Array) -> Array:
        """Pixels (..., 2) of points (..., 3) in the optical frame, in front of the camera (z > 0)."""
        points = np.asarray(points, dtype=np.float64)
        x = points[..., 0] / points[..., 2] * self.fx + self.cx
        y = points[..., 1] / points[..., 2] * self.fy + self.cy
        return np.stack([x, y], axis=-1)

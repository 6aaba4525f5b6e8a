"""Pinhole intrinsics. Pixel (0, 0) is the centre of the top-left pixel: images span -0.5 to width - 0.5."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.so3 import Array

# Degrees: narrower than the longest tele lens, wider than any; and the aspect of a pixel, fx / fy.
_PLAUSIBLE_FOV = (5.0, 179.0)
_PLAUSIBLE_ASPECT = (0.5, 2.0)
# Those of nearly all cameras: square pixels, and a principal point near the middle, as a share of the size.
# With K of half the resolution it is near a quarter.
_USUAL_ASPECT = (0.8, 1.25)
_USUAL_CENTRE = (0.28, 0.72)


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels of an image of width x height pixels.

    Raises:
        CalibrationError: a focal length is not positive, or a value is not finite.
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


def plausibility_warnings(camera: Intrinsics) -> tuple[str, ...]:
    """Return what is unusual about a calibrated camera, a sentence each; empty where nothing is.

    The camera is meant as calibrated, without region of interest.

    Raises:
        CalibrationError: no camera is like that: a field of view outside 5 to 179 degrees, pixels more than
            twice as high as wide or the reverse, or a principal point outside the image or on its border.
    """
    hint = "is the camera calibrated, and for images of this size?"
    for name, focal, size in (("fx", camera.fx, camera.width), ("fy", camera.fy, camera.height)):
        fov = math.degrees(2.0 * math.atan(size / (2.0 * focal)))
        if not _PLAUSIBLE_FOV[0] <= fov <= _PLAUSIBLE_FOV[1]:
            raise CalibrationError(
                f"{name} = {focal:g} of the camera matrix K means a field of view of {fov:.1f} deg for "
                f"{size} pixels; {_PLAUSIBLE_FOV[0]:g} to {_PLAUSIBLE_FOV[1]:g} deg are plausible: {hint}"
            )
    aspect = camera.fx / camera.fy
    if not _PLAUSIBLE_ASPECT[0] <= aspect <= _PLAUSIBLE_ASPECT[1]:
        raise CalibrationError(
            f"fx / fy = {camera.fx:g} / {camera.fy:g} = {aspect:.3g} of the camera matrix K; "
            f"{_PLAUSIBLE_ASPECT[0]:g} to {_PLAUSIBLE_ASPECT[1]:g} is plausible: {hint}"
        )
    warnings = []
    if not _USUAL_ASPECT[0] <= aspect <= _USUAL_ASPECT[1]:
        warnings.append(f"fx / fy = {aspect:.3g} of the camera matrix K, 1 is usual: {hint}")
    for name, centre, size in (("cx", camera.cx, camera.width), ("cy", camera.cy, camera.height)):
        if not 0.0 < centre < size - 1.0:
            raise CalibrationError(
                f"{name} = {centre:g} of the camera matrix K lies outside the {camera.width}x{camera.height} "
                f"image; about {0.5 * size:g} is expected: {hint}"
            )
        if not _USUAL_CENTRE[0] * size < centre < _USUAL_CENTRE[1] * size:
            warnings.append(
                f"{name} = {centre:g} of the camera matrix K lies far from the middle of the "
                f"{camera.width}x{camera.height} image, {0.5 * size:g}: {hint}"
            )
    return tuple(warnings)

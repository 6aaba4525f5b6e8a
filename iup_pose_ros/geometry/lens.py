"""Lens models of camera calibrations: where a lens images the rays of a scene, and where its model fails.

Sources: OpenCV's camera models (https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html), which define
"plumb_bob" and "rational_polynomial"; Kannala and Brandt, "A generic camera model and calibration method for
conventional, wide-angle, and fish-eye lenses", PAMI 2006, which ROS calls "equidistant".
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import CalibrationError
from iup_pose_ros.geometry.so3 import Array

# OpenCV tells its models by the number of coefficients alone, and some drivers name one and send the other's.
_OPENCV_COUNTS = (0, 4, 5, 8, 12, 14)
_COEFFICIENT_COUNTS = {
    "plumb_bob": _OPENCV_COUNTS,
    "rational_polynomial": _OPENCV_COUNTS,
    "equidistant": (0, 4),
}
_OTHER_NAMES = {
    "radtan": "plumb_bob",
    **dict.fromkeys(("fisheye", "kannala_brandt", "kannala_brandt4", "kb4"), "equidistant"),
}
ACCEPTED_MODELS = ("", "none", *_COEFFICIENT_COUNTS, *_OTHER_NAMES)
# Models of other calibration tools, which their users shall find named rather than unknown.
_UNSUPPORTED_MODELS = (
    "double_sphere",
    "ds",
    "omni",
    "omnidirectional",
    "mei",
    "unified",
    "eucm",
    "fov",
    "atan",
    "division",
    "thin_prism_fisheye",
)

# Rays beyond these are not looked at: 85 degrees off the axis of a perspective lens, 180 of a fisheye.
_WIDEST_PERSPECTIVE = float(np.tan(np.radians(85.0)))
_WIDEST_FISHEYE = float(np.pi)
_SAMPLES = 4096
# Share of an image that may lie where a perspective model has folded back: the corners of a usual calibration
# are extrapolated, and a view that leaves them out is sound.
_FOLDED_SHARE = 0.01


class Lens:
    """A camera's lens as its calibration describes it.

    Args:
        matrix: (3, 3) camera matrix, pixels; its skew is honoured.
        distortion: coefficients D as in sensor_msgs/CameraInfo; empty where there is none.
        model: one of ``ACCEPTED_MODELS``; of an undistorted camera any name but that of an unsupported model.
        width: image width in pixels.
        height: image height in pixels.

    Attributes:
        matrix: (3, 3) camera matrix.
        fold: distance from the optical axis, in the plane z = 1, beyond which the model images rays nearer to
            the principal point again; infinite where it never does.

    Raises:
        CalibrationError: a model that is not accepted or folds back inside the image, a wrong number of
            coefficients, or values that are not finite.
    """

    def __init__(
        self, matrix: Array, distortion: Sequence[float], model: str, width: int, height: int
    ) -> None:
        self.matrix = matrix
        self._size = (width, height)
        self._model = lens_model(model, any(distortion))
        self._coefficients = _checked_coefficients(distortion, self._model)
        self.fold = np.inf
        if not self.is_pinhole:
            self._find_fold()

    @property
    def is_pinhole(self) -> bool:
        """Whether images need no resampling: neither distortion nor skew."""
        return not self._distorts and self.matrix[0, 1] == 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual about the model, a sentence each."""
        if not self._distorts or self._coefficients.any():
            return ()
        return (
            "distortion model 'equidistant' with D = 0 0 0 0 is taken for an ideal fisheye lens; where "
            "images are undistorted already, set image_is_rectified",
        )

    def pixels(
        self, x: NDArray[np.floating], y: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the pixels (u, v) that image the rays (x, y, 1) of a grid.

        Args:
            x: (W,) abscissae in the plane z = 1 of the optical frame, evenly spaced, at least two.
            y: (H,) ordinates, evenly spaced, at least two.

        Returns:
            Two arrays (H, W).
        """
        steps = ((x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1))
        grid = np.array([[1 / steps[0], 0, -x[0] / steps[0]], [0, 1 / steps[1], -y[0] / steps[1]], [0, 0, 1]])
        size, unit = (len(x), len(y)), np.eye(3)
        # OpenCV's functions leave skew out, therefore they distort with a unit matrix here.
        if self._model == "equidistant" and self._distorts:
            distorted = cv2.fisheye.initUndistortRectifyMap(
                unit, self._coefficients, unit, grid, size, cv2.CV_32FC1
            )
        else:
            coefficients = self._coefficients if self._distorts else None
            distorted = cv2.initUndistortRectifyMap(unit, coefficients, unit, grid, size, cv2.CV_32FC1)
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        u = fx * distorted[0] + skew * distorted[1] + cx
        return u.astype(np.float32), (fy * distorted[1] + cy).astype(np.float32)

    @property
    def _distorts(self) -> bool:
        fisheye = self._model == "equidistant" and self._coefficients.size > 0
        return fisheye or bool(self._coefficients.any())

    def _find_fold(self) -> None:
        """Find where the radial profile stops to grow, and refuse it inside the image."""
        fisheye = self._model == "equidistant"
        field = np.linspace(0.0, _WIDEST_FISHEYE if fisheye else _WIDEST_PERSPECTIVE, _SAMPLES)
        profile = self._radial_profile(field)
        falling = np.flatnonzero(~(np.diff(profile) > 0.0))
        if len(falling) == 0:
            return
        folds_at, radius = float(field[falling[0]]), float(profile[falling[0]])
        if fisheye:
            self.fold = float(np.tan(folds_at)) if folds_at < np.pi / 2 else np.inf
        else:
            self.fold = folds_at
        if self._is_inside_image(radius, fisheye):
            focal = float(np.sqrt(self.matrix[0, 0] * self.matrix[1, 1]))
            angle = np.degrees(folds_at if fisheye else np.arctan(folds_at))
            raise CalibrationError(
                f"distortion model {self._model!r} with D = {self._coefficients.tolist()} folds back inside "
                f"the image: it images nothing further than {focal * radius:.0f} pixels from the principal "
                f"point, where the ray is {angle:.0f} deg off the axis; calibrate again with the board in "
                "the corners of the image, a lens wider than 100 deg with the equidistant (fisheye) model"
            )

    def _radial_profile(self, field: Array) -> Array:
        """Distance from the principal point in focal lengths by tan(angle) or, of a fisheye, the angle."""
        if self._model == "equidistant":
            k1, k2, k3, k4 = self._coefficients
            square = field**2
            return field * (1.0 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        k1, k2, _, _, k3, k4, k5, k6 = np.resize(np.pad(self._coefficients, (0, 8)), 8)
        square = field**2
        numerator = 1.0 + square * (k1 + square * (k2 + square * k3))
        denominator = 1.0 + square * (k4 + square * (k5 + square * k6))
        # Behind a pole the profile means nothing, which the negative value marks as the fold.
        poles = np.logical_or.accumulate(denominator <= 0.0)
        return np.where(poles, -1.0, field * numerator / np.where(poles, 1.0, denominator))

    def _is_inside_image(self, radius: float, fisheye: bool) -> bool:
        """Whether the profile ends (``radius`` focal lengths) where the image still shows something."""
        width, height = self._size
        (fx, _, cx), (_, fy, cy), _ = self.matrix
        if fisheye:
            # The image circle of a fisheye may end inside the image; the nearest border is always within it.
            nearest = min((cx + 0.5) / fx, (width - 0.5 - cx) / fx, (cy + 0.5) / fy, (height - 0.5 - cy) / fy)
            return radius < nearest
        x, y = (np.arange(width) - cx) / fx, (np.arange(height) - cy) / fy
        beyond = x[None] ** 2 + y[:, None] ** 2 > radius**2
        return float(np.mean(beyond)) > _FOLDED_SHARE


def camera_matrix(k: Sequence[float]) -> Array:
    """Return K (3, 3) of the row-major 9 values of sensor_msgs/CameraInfo.

    Raises:
        CalibrationError: not 9 values, not finite, or all zero (the camera is not calibrated).
    """
    matrix = np.asarray(k, dtype=np.float64).ravel()
    if matrix.size != 9:
        raise CalibrationError(f"camera matrix K has {matrix.size} values, 9 are needed")
    if not matrix.any():
        raise CalibrationError("camera matrix K is all zero: the camera is not calibrated")
    if not np.isfinite(matrix).all():
        raise CalibrationError(f"camera matrix K = {matrix.tolist()} is not finite")
    return matrix.reshape(3, 3)


def lens_model(model: str, distorts: bool = True) -> str:
    """Return ROS's name of a distortion model; empty if it is not known and ``distorts`` is False.

    Raises:
        CalibrationError: the model is not supported or, if ``distorts``, not known.
    """
    name = model.strip().lower().replace("-", "_").replace(" ", "_")
    name = _OTHER_NAMES.get(name, name)
    if name in _UNSUPPORTED_MODELS:
        raise CalibrationError(
            f"distortion model {model!r} is not supported; calibrate with 'equidistant' (Kannala-Brandt) for "
            "wide lenses, 'plumb_bob' or 'rational_polynomial' for others"
        )
    if name not in ACCEPTED_MODELS:
        if not distorts:
            return ""
        accepted = ", ".join(repr(name) for name in ACCEPTED_MODELS)
        raise CalibrationError(f"distortion model {model!r} is not known; accepted are {accepted}")
    return name


def _checked_coefficients(distortion: Sequence[float], model: str) -> Array:
    coefficients = np.asarray(distortion, dtype=np.float64).ravel()
    if not np.all(np.isfinite(coefficients)):
        raise CalibrationError(f"distortion coefficients D = {coefficients.tolist()} are not finite")
    if not coefficients.any() and model != "equidistant":
        return np.zeros(0)
    counts = _COEFFICIENT_COUNTS.get(model, (0,))
    if coefficients.size not in counts and coefficients.any():
        if not model:
            raise CalibrationError(
                f"camera_info names no distortion_model, but has {coefficients.size} coefficients D; "
                f"accepted models are {', '.join(_COEFFICIENT_COUNTS)}"
            )
        raise CalibrationError(
            f"distortion model {model!r} comes with {coefficients.size} coefficients D; it has "
            f"{' or '.join(str(count) for count in counts)}"
        )
    return coefficients if coefficients.size in counts else np.zeros(0)

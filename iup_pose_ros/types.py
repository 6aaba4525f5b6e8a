"""Shared data types: images, depth images, matches and relative poses of two frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import CalibrationError, ImageError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, pose_error
from iup_pose_ros.geometry.so3 import Array

# A colour image: (H, W, 3), RGB.
Picture = NDArray[np.uint8]
# A mask is grown by so many pixels, half a tracked patch, so that no patch contains masked pixels.
_MASK_MARGIN = 7
# A copy of an image, into which a camera may have written the time, differs in at most this share of the
# blocks of so many pixels and at least so many grey levels. Of a new image noise alone changes nearly all of
# them, or after strong compression two fifths; uniform blocks, as of a simulated sky, may stay as they are.
_CHANGED_IN_COPIES = 0.1
_BLOCK, _BLOCK_CONTRAST = 16, 16

# Within a window of 3x3 pixels, depths that differ by more than this share lie on an edge.
_DEPTH_EDGE = 0.1


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ImageError unless an array is uint8 and of shape (H, W, 3) or (H, W)."""
    shape = image.shape
    if image.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        raise ImageError(f"image is {image.dtype} {shape}; uint8 of shape (H, W, 3) or (H, W) is required")


@dataclass(frozen=True, eq=False)
class Frame:
    """One undistorted image of one camera.

    Attributes:
        image: uint8, (H, W, 3) RGB or (H, W) grey; not to be modified, because estimators cache
            what they compute from it.
        intrinsics: pinhole intrinsics of this image.
        stamp: time of exposure in seconds.
        frame_id: name of the camera's optical frame.
        mask: uint8, (H, W), non-zero where pixels are ignored (moving objects, parts of the robot); None: use
            all pixels.

    Raises:
        ImageError: the image or mask is not uint8 or not of its shape.
        CalibrationError: the intrinsics belong to an image of another size.
    """

    image: NDArray[np.uint8]
    intrinsics: Intrinsics
    stamp: float
    frame_id: str
    mask: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        check_image(self.image)
        shape = self.image.shape
        if self.mask is not None and (self.mask.dtype != np.uint8 or self.mask.shape != shape[:2]):
            raise ImageError(
                f"mask is {self.mask.dtype} {self.mask.shape}; uint8 {shape[:2]}, the size of the image, is "
                "required"
            )
        if shape[:2] != (self.intrinsics.height, self.intrinsics.width):
            raise CalibrationError(
                f"image is {shape[1]}x{shape[0]} pixels but its intrinsics are for "
                f"{self.intrinsics.width}x{self.intrinsics.height}"
            )

    def repeats(self, earlier: Frame) -> bool:
        """Return whether the image is a copy of that of an earlier frame, apart from text written into it."""
        if self.grey.shape != earlier.grey.shape:
            return False
        differs = self.grey != earlier.grey
        if np.count_nonzero(differs) > differs.size / 2:  # most new images, without a look at their blocks
            return False
        changed = np.asarray(_blocks(differs).any(axis=(1, 3)))
        textured = np.ptp(_blocks(self.grey), axis=(1, 3)) >= _BLOCK_CONTRAST
        if not textured.any():
            return np.array_equal(self.grey, earlier.grey)
        return bool(np.mean(changed[textured]) <= _CHANGED_IN_COPIES)

    @cached_property
    def grey(self) -> NDArray[np.uint8]:
        """The image as (H, W) grey levels."""
        if self.image.ndim == 2:
            return self.image
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def usable(self) -> NDArray[np.uint8] | None:
        """(H, W), 255 where features may lie and 0 in and near the mask; None without a mask."""
        if self.mask is None:
            return None
        side = 2 * _MASK_MARGIN + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        grown = cv2.dilate((self.mask > 0).astype(np.uint8), kernel)
        return np.where(grown > 0, 0, 255).astype(np.uint8)

    @property
    def masked_share(self) -> float:
        """Share of the pixels that the mask covers."""
        return 0.0 if self.mask is None else float(np.count_nonzero(self.mask)) / self.mask.size

    def are_usable(self, points: Array) -> NDArray[np.bool_]:
        """Return whether points (N, 2) in pixels lie outside the mask."""
        usable = self.usable
        if usable is None:
            return np.ones(len(points), dtype=np.bool_)
        columns, rows = np.rint(np.nan_to_num(points)).astype(np.intp).T
        inside = rows.clip(0, usable.shape[0] - 1), columns.clip(0, usable.shape[1] - 1)
        return np.asarray(usable[inside] > 0, dtype=np.bool_)


def _blocks(image: NDArray[Any]) -> NDArray[Any]:
    """Return the whole blocks of an image (H, W) as (rows, block height, columns, block width)."""
    rows, columns = (size // _BLOCK for size in image.shape)
    return image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)


@dataclass(frozen=True, eq=False)
class DepthImage:
    """Depths along the optical axis for every pixel of an undistorted image.

    Attributes:
        values: float32 (H, W), metres; NaN where there is none, infinite beyond the sensor's range.
        intrinsics: of the undistorted image.
    """

    values: NDArray[np.float32]
    intrinsics: Intrinsics

    def along(self, rays: Array) -> tuple[Array, str]:
        """Return the depths on rays (N, 3), z = 1: the median of 3x3 pixels.

        Returns:
            depths (N,), metres, NaN where unknown, and how many are unknown for which cause, in words.
        """
        centre = np.rint(self.intrinsics.project(rays)).astype(np.int64)
        height, width = self.values.shape
        offsets = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
        pixels = np.clip(centre[:, None] + offsets, 0, [width - 1, height - 1])
        window = self.values[pixels[..., 1], pixels[..., 0]].astype(np.float64)
        saturated = np.isinf(window).any(axis=1)
        finite = np.isfinite(window)
        enough = finite.sum(axis=1) >= 3
        low = np.where(finite, window, np.inf).min(axis=1)
        high = np.where(finite, window, -np.inf).max(axis=1)
        edge = enough & (high > (1.0 + _DEPTH_EDGE) * low)
        known = enough & ~edge & ~saturated
        depths = np.full(len(rays), np.nan)
        depths[known] = np.nanmedian(window[known], axis=1)
        holes = np.count_nonzero(~enough & ~saturated)
        missing = (
            f"{holes} lie in holes, {np.count_nonzero(saturated)} beyond the sensor's range, "
            f"{np.count_nonzero(edge & ~saturated)} on edges of depth"
        )
        return depths, missing


@dataclass(frozen=True, eq=False)
class Matches:
    """Points seen in two frames: pixels (N, 2) in the previous and, row by row, in the current frame."""

    points_prev: Array
    points_curr: Array

    def __len__(self) -> int:
        return len(self.points_prev)

    def chosen(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Matches:
        """Return the matches of an index or a mask."""
        return Matches(self.points_prev[index], self.points_curr[index])

    def outside_masks(self, previous: Frame, current: Frame) -> NDArray[np.bool_]:
        """Return which of the N matches lie outside the masks of both frames."""
        return previous.are_usable(self.points_prev) & current.are_usable(self.points_curr)

    def followed_by(self, others: Matches) -> Matches:
        """Return these matches followed by others."""
        return Matches(
            np.vstack([self.points_prev, others.points_prev]),
            np.vstack([self.points_curr, others.points_curr]),
        )


@dataclass(frozen=True, eq=False)
class RelativePose:
    """Motion of the camera between two frames.

    Attributes:
        T_prev_curr: pose of the current in the previous camera frame; of unit length unless ``metric``.
        covariance: (6, 6) in the previous camera frame, ROS convention (geometry/pose.py), positive definite.
            Unless ``metric`` the length is a convention and the variance along the translation is nominal.
        sigma_R: (3,) standard deviations of the rotation about the previous camera's axes, radians.
        sigma_t: standard deviation of the direction of translation in its tangent plane, per axis, radians.
        metric: whether the translation is in metres.
        source: name of the estimator.
        attention: (h, w) in [0, 1] over the current image: where a network found what the previous one shows;
            None where none was asked.
        hypotheses: where a nearly planar scene allows two poses, both, this one first, each with the
            covariance that it has if it is the true one; ``covariance`` above covers both. Empty otherwise.
        inlier_probability: calibrated probability that rotation and direction err by less than 10 degrees;
            None where it is not known.
        second_probability: probability that the second of the hypotheses is the true one.
    """

    T_prev_curr: Pose
    covariance: Array
    sigma_R: Array
    sigma_t: float
    metric: bool
    source: str
    attention: NDArray[np.float32] | None = None
    hypotheses: tuple[RelativePose, ...] = ()
    second_probability: float = 0.0
    inlier_probability: float | None = None

    def covering(self, other: Pose, probability: float) -> RelativePose:
        """Return the pose with the covariance of the mixture with another pose of the given probability."""
        step = pose_error(other, self.T_prev_curr)
        return replace(
            self,
            covariance=self.covariance + probability * np.outer(step, step),
            sigma_R=np.sqrt(self.sigma_R**2 + probability * step[3:] ** 2),
            sigma_t=float(np.sqrt(self.sigma_t**2 + 0.5 * probability * step[:3] @ step[:3])),
            hypotheses=tuple(hypothesis.covering(other, probability) for hypothesis in self.hypotheses),
        )

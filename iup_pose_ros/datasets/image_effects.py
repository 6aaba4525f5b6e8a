"""Effects of optics, sensor and compression on an image: blur, vignetting, noise and JPEG."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.types import Picture

Rng = np.random.Generator


def defocused(image: Picture, radius: float) -> Picture:
    """Blur an image by a disc of a radius in pixels."""
    reach = math.ceil(radius)
    axis = np.arange(-reach, reach + 1)
    distance = np.hypot(axis[:, None], axis[None])
    # Pixels at the edge of the disc are covered in part.
    kernel = np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32)
    return _filtered(image, kernel)


def motion_blurred(image: Picture, length: float, angle: float) -> Picture:
    """Blur an image along a line with length in pixels and angle in radians, centred at every pixel."""
    reach = math.ceil(0.5 * length)
    axis = np.arange(-reach, reach + 1, dtype=np.float64)
    along = axis[None] * math.cos(angle) + axis[:, None] * math.sin(angle)
    across = axis[:, None] * math.cos(angle) - axis[None] * math.sin(angle)
    kernel = np.clip(0.5 * length + 0.5 - np.abs(along), 0.0, 1.0) * np.clip(1.0 - np.abs(across), 0.0, 1.0)
    return _filtered(image, kernel.astype(np.float32))


def vignette(height: int, width: int, strength: float) -> NDArray[np.float32]:
    """Return factors (H, W, 1): 1 in the centre, 1 - strength in the corners."""
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :, None]
    return np.asarray(1.0 - np.float32(0.5 * strength) * (x * x + y * y), dtype=np.float32)


def add_noise(values: NDArray[np.float32], level: float, grey: bool, rng: Rng) -> None:
    """Add shot noise, which increases with brightness, and read noise in place."""
    noise = rng.standard_normal((*values.shape[:2], 1 if grey else 3), dtype=np.float32)
    values += noise * np.sqrt(0.1 + 0.9 / 255.0 * np.maximum(values, 0.0)) * np.float32(level)


def jpeg(image: Picture, quality: int) -> Picture:
    """Compress and decompress an image with a quality from 1 to 100."""
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


def _filtered(image: Picture, kernel: NDArray[np.float32]) -> Picture:
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.uint8)

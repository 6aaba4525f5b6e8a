"""Images of a textured scene that a camera passes sideways: three bands of wall at three depths."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FOCAL = 320, 240, 250.0
K = (FOCAL, 0.0, WIDTH / 2 - 0.5, 0.0, FOCAL, HEIGHT / 2 - 0.5, 0.0, 0.0, 1.0)
DEPTHS = (2.0, 3.0, 5.0)


def _texture() -> NDArray[np.float32]:
    """Blurred noise (H, 8 W), sharp enough for corners and smooth enough for sub-pixel shifts."""
    noise = np.random.default_rng(11).uniform(0, 255, (HEIGHT, 8 * WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.asarray(255.0 * (smooth - smooth.min()) / np.ptp(smooth), dtype=np.float32)


_TEXTURE = _texture()


def view(position: float) -> NDArray[np.uint8]:
    """RGB image (240, 320, 3) of the camera at ``position`` metres along its x axis."""
    image = np.empty((HEIGHT, WIDTH), dtype=np.float32)
    for band, depth in enumerate(DEPTHS):
        rows = slice(band * HEIGHT // len(DEPTHS), (band + 1) * HEIGHT // len(DEPTHS))
        pixels = FOCAL * position / depth % _TEXTURE.shape[1]  # the wall repeats, so that it has no end
        shift = np.array([[1.0, 0.0, -pixels], [0.0, 1.0, 0.0]])
        size = (WIDTH, image[rows].shape[0])
        image[rows] = cv2.warpAffine(_TEXTURE[rows], shift, size, borderMode=cv2.BORDER_WRAP)
    grey = image.clip(0, 255).astype(np.uint8)
    return np.dstack([grey, grey, grey])

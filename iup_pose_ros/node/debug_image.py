"""Drawing of the debug image: tracks, the network's attention, state and text."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ImageError
from iup_pose_ros.types import Matches, check_image

Colour = tuple[int, int, int]
Image = NDArray[np.uint8]

_STATE_COLOURS: dict[str, Colour] = {
    "INITIALIZING": (255, 200, 0),
    "TRACKING": (60, 220, 60),
    "STATIONARY": (90, 170, 255),
    "LOST": (255, 100, 90),
}
_TEXT: Colour = (255, 255, 255)
_TRACK: Colour = (0, 230, 120)
_POINT: Colour = (255, 120, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of letters: share of the image's shorter side, and minimum in pixels.
_LETTER_SHARE = 0.033
_MIN_LETTER = 9.0
# Height of Hershey's capital letters at scale 1, in pixels.
_HERSHEY_CAPITAL = 22.0
_PANEL_DARKNESS = 0.6
_ATTENTION_OPACITY = 0.55
_MASK_DIVISOR = 4
# OpenCV draws at positions given in fractions of 1/16 pixel.
_SUBPIXEL_BITS = 4


def draw_debug_image(
    image: Image,
    tracks: Matches | None,
    state: str,
    lines: Sequence[str],
    attention: NDArray[np.floating] | None,
    mask: Image | None = None,
) -> Image:
    """Return a copy of the image with tracks, attention and text drawn on it.

    Args:
        image: current image, (H, W, 3) RGB or (H, W) grey.
        tracks: points in the last keyframe and in this image, pixels; drawn as lines that end in a dot at
            the current position. Rows that are not finite are omitted.
        state: name of the tracking state, drawn first and in the state's colour.
        lines: further lines of text, wrapped at the image's width and cut off at its bottom.
        attention: (h, w) in [0, 1] of any resolution, overlaid on the whole image as translucent colour;
            NaN counts as 0.
        mask: (H, W), pixels that are not 0 are ignored and drawn dark.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ImageError: the image or the attention has another shape or type.
    """
    check_image(image)
    if image.size == 0:
        raise ImageError(f"image of shape {image.shape} has no pixels")
    if image.ndim == 2:
        canvas = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    else:
        canvas = np.ascontiguousarray(image).copy()
    if mask is not None:
        canvas[mask > 0] //= _MASK_DIVISOR
    if attention is not None:
        canvas = _with_attention(canvas, attention)
    if tracks is not None:
        _draw_tracks(canvas, tracks)
    _draw_text(canvas, state, lines)
    return canvas


def _with_attention(canvas: Image, attention: NDArray[np.floating]) -> Image:
    """Return the image under a heat map whose opacity is proportional to the attention."""
    if attention.ndim != 2 or attention.size == 0 or not np.issubdtype(attention.dtype, np.floating):
        raise ImageError(
            f"attention is {attention.dtype} {attention.shape}; floats (h, w) from 0 to 1 are required"
        )
    values = np.nan_to_num(attention.astype(np.float32), nan=0.0).clip(0.0, 1.0)
    heat = cv2.resize(values, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.round(255.0 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)
    colours = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    opacity = _ATTENTION_OPACITY * heat
    return np.asarray(cv2.blendLinear(canvas, colours, 1.0 - opacity, opacity), dtype=np.uint8)


def _draw_tracks(canvas: Image, tracks: Matches) -> None:
    """Draw tracks as lines with a dot at the end; ends far outside are clipped to one image size beyond."""
    thickness = max(1, round(min(canvas.shape[:2]) / 400))
    finite = np.isfinite(tracks.points_prev).all(axis=1) & np.isfinite(tracks.points_curr).all(axis=1)
    size = np.array([canvas.shape[1], canvas.shape[0]])
    starts, ends = (
        np.round(points[finite].clip(-size, 2 * size) * (1 << _SUBPIXEL_BITS)).astype(int).tolist()
        for points in (tracks.points_prev, tracks.points_curr)
    )
    for start, end in zip(starts, ends, strict=True):
        cv2.line(canvas, start, end, _TRACK, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    radius = (thickness + 1) << _SUBPIXEL_BITS
    for end in ends:
        cv2.circle(canvas, end, radius, _POINT, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_text(canvas: Image, state: str, lines: Sequence[str]) -> None:
    """Draw state and lines at the top left on a darkened panel, so that they are readable on any image."""
    height, width = canvas.shape[:2]
    letter = max(_MIN_LETTER, _LETTER_SHARE * min(height, width))
    scale, step = letter / _HERSHEY_CAPITAL, round(1.9 * letter)
    margin, thickness = round(0.6 * letter), max(1, round(letter / 10))
    rows = [(row, _STATE_COLOURS.get(state, _TEXT)) for row in _wrapped(state, scale, width - 2 * margin)]
    rows += [(row, _TEXT) for line in lines for row in _wrapped(line, scale, width - 2 * margin)]
    rows = rows[: max(1, (height - margin) // step)]
    if not rows:
        return
    panel = canvas[: len(rows) * step + margin]
    panel[:] = np.round((1.0 - _PANEL_DARKNESS) * panel).astype(np.uint8)
    for number, (row, colour) in enumerate(rows, start=1):
        baseline = (margin, number * step - margin // 2)
        cv2.putText(canvas, row, baseline, _FONT, scale, colour, thickness, cv2.LINE_AA)


def _wrapped(line: str, scale: float, width: int) -> list[str]:
    """Break a line between words into rows of at most ``width`` pixels; longer words are not split."""
    rows: list[str] = []
    for word in line.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and cv2.getTextSize(longer, _FONT, scale, 1)[0][0] <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    return rows

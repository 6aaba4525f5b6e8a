"""Decoding of ROS depth images to metres; without ROS.

Sources: REP 118 (depth images) and the message layout of compressed_depth_image_transport.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import ImageError
from iup_pose_ros.images import decode_file, raw_values

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# A compressedDepth message starts with an int32 and the two floats of the quantisation.
_HEADER = struct.Struct("<iff")
_MILLIMETRE = 0.001
_SATURATED = 65535
NEAREST, FARTHEST = 0.001, 1e4
"""Metres: no sensor measures less or more; such numbers are damaged, or mark a missing measurement."""


def decode_depth(message: Any) -> NDArray[np.float32]:
    """Return the depths (H, W) in metres of a depth image.

    Args:
        message: sensor_msgs/Image of encoding 16UC1 or mono16 (mm) or 32FC1 (m), or CompressedImage of
            compressedDepth.

    Returns:
        NaN where there is no depth (below 1 mm, NaN), infinite beyond the range (65535, above 10 km).

    Raises:
        ImageError: the encoding is not accepted, or the data are damaged.
    """
    if hasattr(message, "format"):
        return _decode_compressed(message)
    if message.encoding not in ("16UC1", "mono16", "32FC1"):
        raise ImageError(
            f"depth image has encoding {message.encoding!r}; 16UC1 (millimetres) and 32FC1 (metres) are "
            "accepted"
        )
    values = raw_values(message)
    return _from_millimetres(values) if values.dtype.kind == "u" else _from_metres(values)


def _decode_compressed(message: Any) -> NDArray[np.float32]:
    """Return the depths of a sensor_msgs/CompressedImage."""
    data = bytes(message.data)
    header, png = (data[: _HEADER.size], data[_HEADER.size :])
    if data.startswith(_PNG_MAGIC):
        header, png = b"", data
    if not png.startswith(_PNG_MAGIC):
        raise ImageError(
            f"compressed depth image of format {message.format!r} is not a PNG; compressedDepth with "
            "png compression is accepted"
        )
    what = f"compressed depth image of format {message.format!r}"
    values = decode_file(png, what, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype != np.uint16:
        raise ImageError(f"{what} is not of 16 bits and one channel")
    if "32FC1" not in message.format:
        return _from_millimetres(values)
    if not header:
        raise ImageError("compressed depth image of 32FC1 has no quantisation header")
    _, quant_a, quant_b = _HEADER.unpack(header)
    with np.errstate(all="ignore"):
        depths = quant_a / (values.astype(np.float32) - quant_b)
    return _from_metres(np.where(values == 0, np.nan, depths))


def _from_millimetres(values: NDArray[Any]) -> NDArray[np.float32]:
    metres = values.astype(np.float32) * np.float32(_MILLIMETRE)
    metres[values == 0] = np.nan
    metres[values == _SATURATED] = np.inf
    return metres


def _from_metres(values: NDArray[Any]) -> NDArray[np.float32]:
    metres = np.array(values, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        metres[~(metres >= NEAREST)] = np.nan
        metres[metres > FARTHEST] = np.inf
    return metres

"""Decoding of ROS image messages to uint8 arrays, (H, W, 3) RGB or (H, W) grey.

Nothing here imports ROS: a message is any object with the fields of sensor_msgs/Image or CompressedImage,
of rclpy or rosbags. Arrays share the message's memory if possible.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as ImageFile

from iup_pose_ros.errors import ImageError
from iup_pose_ros.level_mapping import LevelMapping

Image = NDArray[np.uint8]

# First bytes of the supported file formats; those of WebP follow after the length of a RIFF file.
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_FILE_MAGICS = (b"\xff\xd8\xff", _PNG_MAGIC, b"BM", b"II*\x00", b"MM\x00*")
_FILE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
MAX_FILE_PIXELS = 8192 * 8192
"""Pixels of the largest image file that is decoded; a small file can declare a size that fills the memory."""
_VIDEO_FORMATS = ("h264", "h265", "hevc", "x264", "x265", "av1", "vp9")
VIDEO_REMEDY = (
    "a video stream is not decoded here; republish it as images: "
    "ros2 run image_transport republish --ros-args -p in_transport:=ffmpeg -p out_transport:=raw"
)


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are read."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class CompressedImageMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that are read."""

    format: str
    data: Any


@dataclass(frozen=True)
class _Encoding:
    """Memory layout of an encoding and its conversion to RGB or grey.

    Attributes:
        channels: values per pixel; of planar encodings in the luma plane.
        convert: converts the array in memory layout, reduced to 8 bits, to RGB or grey.
        item: numpy type of one value, without byte order; more than 8 bits are mapped to 8.
        cell: (width, height) of the block of pixels that shares colour; the image size is a multiple of it.
        planar_rows: rows in memory per two image rows: 3 if a half-height chroma plane follows the luma.
    """

    channels: int
    convert: Callable[[NDArray[Any]], NDArray[Any]]
    item: str = "u1"
    cell: tuple[int, int] = (1, 1)
    planar_rows: int = 2


def _unchanged(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels


def _first_channel(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[..., 0]


def _colour(code: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def convert(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.cvtColor(pixels, code))

    return convert


_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, _unchanged),
    "bgr8": _Encoding(3, _colour(cv2.COLOR_BGR2RGB)),
    "rgba8": _Encoding(4, _colour(cv2.COLOR_RGBA2RGB)),
    "bgra8": _Encoding(4, _colour(cv2.COLOR_BGRA2RGB)),
    "mono8": _Encoding(1, _first_channel),
    "mono16": _Encoding(1, _first_channel, item="u2"),
    "rgb16": _Encoding(3, _unchanged, item="u2"),
    "bgr16": _Encoding(3, _colour(cv2.COLOR_BGR2RGB), item="u2"),
    "rgba16": _Encoding(4, _colour(cv2.COLOR_RGBA2RGB), item="u2"),
    "bgra16": _Encoding(4, _colour(cv2.COLOR_BGRA2RGB), item="u2"),
    # Generic encodings have OpenCV's channel order (BGR), as everywhere in ROS.
    "8UC1": _Encoding(1, _first_channel),
    "8UC3": _Encoding(3, _colour(cv2.COLOR_BGR2RGB)),
    "8UC4": _Encoding(4, _colour(cv2.COLOR_BGRA2RGB)),
    "16UC1": _Encoding(1, _first_channel, item="u2"),
    "16UC3": _Encoding(3, _colour(cv2.COLOR_BGR2RGB), item="u2"),
    "32FC1": _Encoding(1, _first_channel, item="f4"),
    # OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two rows.
    "bayer_rggb8": _Encoding(1, _colour(cv2.COLOR_BayerBG2RGB), cell=(2, 2)),
    "bayer_bggr8": _Encoding(1, _colour(cv2.COLOR_BayerRG2RGB), cell=(2, 2)),
    "bayer_gbrg8": _Encoding(1, _colour(cv2.COLOR_BayerGR2RGB), cell=(2, 2)),
    "bayer_grbg8": _Encoding(1, _colour(cv2.COLOR_BayerGB2RGB), cell=(2, 2)),
    # "yuv422" is the old name of "uyvy", "yuv422_yuy2" that of "yuyv".
    "yuv422": _Encoding(2, _colour(cv2.COLOR_YUV2RGB_UYVY), cell=(2, 1)),
    "uyvy": _Encoding(2, _colour(cv2.COLOR_YUV2RGB_UYVY), cell=(2, 1)),
    "yuv422_yuy2": _Encoding(2, _colour(cv2.COLOR_YUV2RGB_YUY2), cell=(2, 1)),
    "yuyv": _Encoding(2, _colour(cv2.COLOR_YUV2RGB_YUY2), cell=(2, 1)),
    "nv12": _Encoding(1, _colour(cv2.COLOR_YUV2RGB_NV12), cell=(2, 2), planar_rows=3),
    "nv21": _Encoding(1, _colour(cv2.COLOR_YUV2RGB_NV21), cell=(2, 2), planar_rows=3),
}

_ENCODINGS |= {
    f"{name.removesuffix('8')}16": replace(encoding, item="u2")
    for name, encoding in _ENCODINGS.items()
    if name.startswith("bayer_")
}
SUPPORTED_ENCODINGS = tuple(_ENCODINGS)


def decode_image(message: ImageMessage, levels: LevelMapping | None = None) -> Image:
    """Return uint8 (H, W, 3) RGB or (H, W) grey of a sensor_msgs/Image.

    Encodings outside ``SUPPORTED_ENCODINGS`` are decoded by cv_bridge if it is installed.

    Args:
        message: the image.
        levels: mapping of 16-bit and floating-point levels to 8 bits, one for all images of a stream; None:
            one for this image alone.

    Raises:
        ImageError: the encoding is not supported, or step, size and data are inconsistent.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        return _decode_with_cv_bridge(message)
    _check_size(message, encoding)
    try:
        pixels = _pixels(message, encoding)
        if encoding.item != "u1":
            pixels = (levels or LevelMapping())(pixels)
        return np.asarray(encoding.convert(pixels), dtype=np.uint8)
    except cv2.error as error:
        raise ImageError(
            f"image of encoding {message.encoding!r}, {message.width}x{message.height} pixels, "
            f"cannot be converted: {error.err}"
        ) from error


def decode_compressed_image(message: CompressedImageMessage, levels: LevelMapping | None = None) -> Image:
    """Return uint8 (H, W, 3) RGB or (H, W) grey of a sensor_msgs/CompressedImage.

    It holds a JPEG, PNG, WebP, TIFF or BMP file.

    Args:
        message: the image.
        levels: as of ``decode_image``.

    Raises:
        ImageError: the format is not supported, or the data are missing or damaged.
    """
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size == 0:
        raise ImageError(f"compressed image of format {message.format!r} has no data")
    head = data[:12].tobytes()
    is_webp = head.startswith(b"RIFF") and head.endswith(b"WEBP")
    if not (is_webp or head.startswith(_FILE_MAGICS)):
        if any(name in message.format.lower() for name in _VIDEO_FORMATS):
            raise ImageError(f"compressed image of format {message.format!r}: {VIDEO_REMEDY}")
        raise ImageError(
            f"compressed image of format {message.format!r} starts with bytes {head[:8].hex(' ')}; "
            "JPEG, PNG, WebP, TIFF and BMP files are supported"
        )
    # Orientation tags are ignored because camera_info describes the sensor, not the upright image.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = decode_file(message.data, f"compressed image of format {message.format!r}", flags)
    if image.dtype != np.uint8:
        image = (levels or LevelMapping())(image)
    encoding = mosaic_encoding(message)
    if encoding and image.ndim == 2 and not any(side % 2 for side in image.shape):
        image = _ENCODINGS[encoding].convert(image)
    elif image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.asarray(image, dtype=np.uint8)


def mosaic_encoding(message: CompressedImageMessage) -> str:
    """Return the Bayer encoding of a compressed mosaic; empty for other images.

    A mosaic is compressed as it is, and its format begins with the encoding: "bayer_rggb8; png compressed".
    """
    name = message.format.partition(";")[0].strip()
    return name if name.startswith("bayer_") and name in _ENCODINGS else ""


def raw_values(message: ImageMessage) -> NDArray[Any]:
    """Return the values (H, W) of a sensor_msgs/Image of one channel, in its own type, e.g. of a depth image.

    Raises:
        ImageError: the encoding is not supported, or step, size and data are inconsistent.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None or encoding.channels != 1:
        raise ImageError(f"image encoding {message.encoding!r} is not one of a single channel")
    _check_size(message, encoding)
    return _pixels(message, encoding)[..., 0]


def decode_file(data: Any, what: str, flags: int) -> NDArray[Any]:
    """Return the pixels of a JPEG, PNG, WebP, TIFF, BMP or PPM file, as cv2.imdecode does.

    Args:
        data: content of the file.
        what: description of the file for the error message.
        flags: of cv2.imdecode.

    Raises:
        ImageError: the file is damaged, or its header declares more than ``MAX_FILE_PIXELS``; nothing is
            decoded then.
    """
    _check_declared_size(bytes(data), what)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{what} is damaged: {error.err}") from error
    if image is None:
        raise ImageError(f"{what}, {len(data)} bytes, is damaged and not decodable")
    return np.asarray(image)


def _check_declared_size(data: bytes, what: str) -> None:
    """Raise ImageError if the header of an image file is damaged or declares too many pixels or bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about damaged metadata
            with ImageFile.open(io.BytesIO(data), formats=_FILE_FORMATS) as header:
                width, height = header.size
    except ImageFile.DecompressionBombError as error:
        raise ImageError(f"{what}: {error}; at most {MAX_FILE_PIXELS} pixels are decoded") from error
    except (OSError, ValueError, OverflowError, SyntaxError, EOFError, struct.error) as error:
        raise ImageError(f"{what} is damaged, its header cannot be read: {error}") from error
    if width * height > MAX_FILE_PIXELS:
        raise ImageError(
            f"{what} declares {width}x{height} pixels; at most {MAX_FILE_PIXELS} in total are decoded"
        )
    if not data.startswith(_PNG_MAGIC):
        return
    # OpenCV takes the memory that a part of the file (length, name, content, checksum) declares.
    place = len(_PNG_MAGIC)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + length > len(data):
            raise ImageError(
                f"{what} is damaged: a part of it has {length} bytes, beyond the end of the file"
            )
        place += 12 + length


def _check_size(message: ImageMessage, encoding: _Encoding) -> None:
    """Raise ImageError if sizes are inconsistent. The padding of the last row may be missing."""
    what = f"image of encoding {message.encoding!r}, {message.width}x{message.height} pixels,"
    cell_width, cell_height = encoding.cell
    if message.width < 1 or message.height < 1:
        raise ImageError(f"{what} is empty; at least 1x1 pixels are required")
    if message.width % cell_width or message.height % cell_height:
        raise ImageError(
            f"{what} is not a multiple of the {cell_width}x{cell_height} blocks of pixels that share colour"
        )
    row = message.width * encoding.channels * np.dtype(encoding.item).itemsize
    if message.step < row:
        raise ImageError(f"{what} has step {message.step}, shorter than a row of {row} bytes")
    rows = _memory_rows(message, encoding)
    size = len(message.data)
    if size == 0:
        raise ImageError(f"{what} has no data")
    if not (rows - 1) * message.step + row <= size <= rows * message.step:
        raise ImageError(
            f"{what} has {size} bytes of data; {rows} rows of step {message.step} are {rows * message.step}"
        )


def _memory_rows(message: ImageMessage, encoding: _Encoding) -> int:
    return message.height * encoding.planar_rows // 2


def _pixels(message: ImageMessage, encoding: _Encoding) -> NDArray[Any]:
    """Return the message's data as (rows, width, channels), sharing its memory; padding is skipped."""
    item = np.dtype(encoding.item).newbyteorder(">" if message.is_bigendian else "<")
    return np.ndarray(
        shape=(_memory_rows(message, encoding), message.width, encoding.channels),
        dtype=item,
        buffer=np.frombuffer(message.data, dtype=np.uint8),
        strides=(message.step, encoding.channels * item.itemsize, item.itemsize),
    )


def _decode_with_cv_bridge(message: ImageMessage) -> Image:
    """Decode other encodings with cv_bridge; raise ImageError if it is missing or fails."""
    accepted = ", ".join(SUPPORTED_ENCODINGS)
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ImageError(
            f"image encoding {message.encoding!r} is not decoded here and cv_bridge is not installed; "
            f"decoded without it are {accepted}"
        ) from None
    try:
        bridge = CvBridge()
        item, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        pixel = int(channels) * np.dtype(item).itemsize
        if message.step % pixel:
            # cv_bridge would silently misalign the rows.
            raise ImageError(
                f"step {message.step} is not a multiple of the {pixel} bytes of a {message.encoding!r} pixel"
            )
        image = bridge.imgmsg_to_cv2(message, desired_encoding="rgb8")
    except Exception as error:  # cv_bridge raises whatever OpenCV, NumPy or its own parser raise
        raise ImageError(
            f"image encoding {message.encoding!r} is not decoded here and cv_bridge failed: {error}; "
            f"decoded without it are {accepted}"
        ) from error
    return np.asarray(image, dtype=np.uint8)

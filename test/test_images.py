"""Image messages become the arrays that were put into them, or are refused with a sentence that says why."""

from __future__ import annotations

import array
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros.errors import ImageError
from iup_pose_ros.images import SUPPORTED_ENCODINGS, decode_compressed_image, decode_image
from iup_pose_ros.level_mapping import LevelMapping

WIDTH, HEIGHT = 10, 6
RGB = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def message(pixels, encoding, padding=0, is_bigendian=0, **overrides):
    """An image message of rows (H, ...) with bytes of padding after each row."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    fields = {
        "height": len(pixels),
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": is_bigendian,
        "step": padded.shape[1],
        "data": padded.tobytes(),
    }
    return SimpleNamespace(**{**fields, **overrides})


def bt601(y, u, v):
    """RGB of limited-range YUV, ITU-R BT.601: the oracle of every YUV encoding."""
    y, u, v = (np.asarray(plane, dtype=np.float64) for plane in (y, u, v))
    luma = 1.164 * (y - 16)
    planes = (
        luma + 1.596 * (v - 128),
        luma - 0.813 * (v - 128) - 0.391 * (u - 128),
        luma + 2.018 * (u - 128),
    )
    return np.clip(np.stack(planes, axis=-1), 0, 255)


def yuv_planes():
    """Luma (H, W) and, per two columns, chroma (H, W / 2) inside the range that RGB can show."""
    generator = np.random.default_rng(4)
    y = generator.integers(60, 180, (HEIGHT, WIDTH), dtype=np.uint8)
    u, v = generator.integers(110, 146, (2, HEIGHT, WIDTH // 2), dtype=np.uint8)
    return y, u, v


COLOUR_LAYOUTS = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "8UC3": RGB[..., ::-1],
    "rgba8": np.dstack([RGB, RGB[..., 0]]),
    "bgra8": np.dstack([RGB[..., ::-1], RGB[..., 0]]),
    "8UC4": np.dstack([RGB[..., ::-1], RGB[..., 0]]),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOUR_LAYOUTS)
def test_colour_comes_back_as_rgb(encoding, padding):
    decoded = decode_image(message(COLOUR_LAYOUTS[encoding], encoding, padding))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_comes_back_unchanged(encoding, padding):
    np.testing.assert_array_equal(decode_image(message(RGB[..., 0], encoding, padding)), RGB[..., 0])


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("is_bigendian", [0, 1])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_16_bit_grey_is_mapped_from_the_range_of_its_stream(encoding, is_bigendian, padding):
    values = np.random.default_rng(5).integers(0, 1 << 16, (HEIGHT, WIDTH), dtype=np.uint16)
    stored = values.astype(">u2" if is_bigendian else "<u2")
    levels = LevelMapping((0.0, 65535.0))
    decoded = decode_image(message(stored, encoding, padding, is_bigendian), levels)
    np.testing.assert_array_equal(decoded, np.rint(values / 257.0).astype(np.uint8))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_16_bit_colour_is_mapped_alike_in_all_channels(encoding):
    stored = COLOUR_LAYOUTS[encoding].astype("<u2") * 257
    decoded = decode_image(message(stored, f"{encoding[:-1]}16"), LevelMapping((0.0, 65535.0)))
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_16_bit_bayer_is_that_of_8_bits(pattern):
    raw = RGB[..., 0]
    decoded = decode_image(message(raw.astype("<u2") * 257, f"bayer_{pattern}16"), LevelMapping((0, 65535)))
    np.testing.assert_array_equal(decoded, decode_image(message(raw, f"bayer_{pattern}8")))


def test_floating_point_levels_that_are_no_number_become_black():
    values = np.linspace(20.0, 30.0, HEIGHT * WIDTH).astype("<f4").reshape(HEIGHT, WIDTH)
    values[0, 0], values[3, 2] = np.nan, np.inf
    decoded = decode_image(message(values, "32FC1"), LevelMapping((20.0, 30.0)))
    expected = np.rint(25.5 * (np.nan_to_num(values, nan=20.0, posinf=30.0) - 20.0))
    np.testing.assert_allclose(decoded, expected, atol=1)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_mosaic_of_one_colour_becomes_that_colour(pattern, padding):
    colour = {"r": 200, "g": 90, "b": 30}
    cell = np.array([colour[letter] for letter in pattern], dtype=np.uint8).reshape(2, 2)
    mosaic = np.tile(cell, (HEIGHT // 2, WIDTH // 2))
    decoded = decode_image(message(mosaic, f"bayer_{pattern}8", padding))
    np.testing.assert_array_equal(decoded, np.broadcast_to((200, 90, 30), (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422_becomes_the_rgb_of_bt601(encoding, order, padding):
    y, u, v = yuv_planes()
    chroma = np.stack([u, v], axis=-1).reshape(HEIGHT, WIDTH)
    pixels = np.stack([chroma, y] if order == "uyvy" else [y, chroma], axis=-1)
    decoded = decode_image(message(pixels, encoding, padding))
    expected = bt601(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    np.testing.assert_allclose(decoded, expected, atol=2)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(("encoding", "first"), [("nv12", "u"), ("nv21", "v")])
def test_half_resolution_chroma_becomes_the_rgb_of_bt601(encoding, first, padding):
    y, u, v = (plane[: HEIGHT // 2] if index else plane for index, plane in enumerate(yuv_planes()))
    pair = (u, v) if first == "u" else (v, u)
    rows = np.vstack([y, np.stack(pair, axis=-1).reshape(HEIGHT // 2, WIDTH)])
    decoded = decode_image(message(rows, encoding, padding, height=HEIGHT))
    full = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))
    np.testing.assert_allclose(decoded, bt601(y, *full), atol=2)


@pytest.mark.parametrize("container", [bytes, bytearray, lambda data: array.array("B", data), np.frombuffer])
def test_every_container_of_bytes_is_accepted(container):
    data = RGB.tobytes()
    held = container(data, dtype=np.uint8) if container is np.frombuffer else container(data)
    np.testing.assert_array_equal(decode_image(message(RGB, "rgb8", data=held)), RGB)


@pytest.mark.parametrize(("encoding", "pixels"), [("rgb8", RGB), ("mono8", RGB[..., 0])])
def test_rgb_and_grey_share_the_memory_of_the_message(encoding, pixels):
    data = bytearray(message(pixels, encoding).data)
    decoded = decode_image(message(pixels, encoding, data=data))
    data[0] ^= 0xFF
    assert decoded.flat[0] == data[0]


def test_last_row_may_lack_its_padding():
    whole = message(RGB, "rgb8", padding=5)
    whole.data = whole.data[:-5]
    np.testing.assert_array_equal(decode_image(whole), RGB)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"step": WIDTH * 3 - 1}, "step 29, shorter than a row of 30 bytes"),
        ({"step": 0}, "step 0, shorter than a row"),
        ({"data": b""}, "no data"),
        ({"data": RGB.tobytes()[:-1]}, "179 bytes of data; 6 rows of step 30 are 180"),
        ({"data": RGB.tobytes() + b"x"}, "181 bytes of data"),
        ({"width": 0}, "0x6 pixels, is empty"),
        ({"height": 0}, "10x0 pixels, is empty"),
        ({"height": HEIGHT + 1}, "7 rows of step 30 are 210"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(overrides, words):
    with pytest.raises(ImageError, match=words):
        decode_image(message(RGB, "rgb8", **overrides))


@pytest.mark.parametrize("encoding", ["nv12", "yuyv", "bayer_rggb8"])
def test_images_of_half_a_colour_block_are_refused(encoding):
    with pytest.raises(ImageError, match="multiple of the 2x"):
        decode_image(message(RGB[..., 0], encoding, width=WIDTH - 1))


@given(
    encoding=st.sampled_from(SUPPORTED_ENCODINGS),
    width=st.integers(0, 5),
    height=st.integers(0, 5),
    step=st.integers(0, 20),
    size=st.integers(0, 100),
)
def test_any_small_message_decodes_to_its_size_or_is_refused(encoding, width, height, step, size):
    fields = {"width": width, "height": height, "step": step, "data": bytes(size)}
    try:
        decoded = decode_image(message(RGB, encoding, **fields))
    except ImageError:
        return
    assert decoded.shape[:2] == (height, width)


def test_unknown_encoding_names_itself_and_the_list(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(ImageError, match=r"'32FC3'.*cv_bridge is not installed.*rgb8, bgr8.*nv12"):
        decode_image(message(RGB.astype(np.float32), "32FC3"))


def stand_in_cv_bridge(monkeypatch, imgmsg_to_cv2):
    bridge = SimpleNamespace(
        imgmsg_to_cv2=imgmsg_to_cv2, encoding_to_dtype_with_channels=lambda encoding: ("uint16", 3)
    )
    module = SimpleNamespace(CvBridge=lambda: bridge)
    monkeypatch.setitem(sys.modules, "cv_bridge", module)


def test_cv_bridge_serves_encodings_outside_the_list(monkeypatch):
    stand_in_cv_bridge(monkeypatch, lambda message, desired_encoding: {"rgb8": RGB}[desired_encoding])
    np.testing.assert_array_equal(decode_image(message(RGB.astype(np.uint16), "16SC3")), RGB)


def test_rows_that_cv_bridge_would_cut_wrongly_are_refused(monkeypatch):
    stand_in_cv_bridge(monkeypatch, lambda message, desired_encoding: RGB)
    with pytest.raises(ImageError, match="step 64 is not a multiple of the 6 bytes of a '16SC3' pixel"):
        decode_image(message(RGB.astype(np.uint16), "16SC3", padding=4))


def test_failure_of_cv_bridge_is_an_image_error(monkeypatch):
    def fail(message, desired_encoding):
        raise RuntimeError("no such conversion")

    stand_in_cv_bridge(monkeypatch, fail)
    with pytest.raises(ImageError, match=r"'16SC3'.*no such conversion"):
        decode_image(message(RGB.astype(np.uint16), "16SC3"))


def compressed(image, extension, format_name=""):
    written, data = cv2.imencode(extension, image)
    assert written
    return SimpleNamespace(format=format_name, data=data.tobytes())


def test_png_comes_back_exactly():
    np.testing.assert_array_equal(decode_compressed_image(compressed(RGB[..., ::-1], ".png")), RGB)
    np.testing.assert_array_equal(decode_compressed_image(compressed(RGB[..., 1], ".png")), RGB[..., 1])


def test_16_bit_png_is_reduced_to_8_bits():
    values = np.linspace(0, 0xFFF, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    decoded = decode_compressed_image(compressed(values, ".png"), LevelMapping((0.0, 4095.0)))
    np.testing.assert_array_equal(decoded, np.rint(values * (255.0 / 4095.0)).astype(np.uint8))


@pytest.mark.parametrize("pattern", ["rggb", "grbg"])
def test_compressed_bayer_mosaics_are_those_of_raw_messages(pattern):
    mosaic = RGB[..., 0]
    expected = decode_image(message(mosaic, f"bayer_{pattern}8"))
    decoded = decode_compressed_image(compressed(mosaic, ".png", f"bayer_{pattern}8; png compressed "))
    np.testing.assert_array_equal(decoded, expected)
    deep = compressed(mosaic.astype(np.uint16) * 257, ".png", f"bayer_{pattern}16; png compressed ")
    np.testing.assert_array_equal(decode_compressed_image(deep, LevelMapping((0.0, 65535.0))), expected)
    odd = decode_compressed_image(compressed(mosaic[:-1], ".png", f"bayer_{pattern}8; png compressed "))
    np.testing.assert_array_equal(odd, mosaic[:-1])


@pytest.mark.parametrize("extension", [".tiff", ".bmp"])
def test_other_lossless_files_come_back_exactly(extension):
    np.testing.assert_array_equal(decode_compressed_image(compressed(RGB[..., ::-1], extension)), RGB)


def test_webp_is_decoded():
    decoded = decode_compressed_image(compressed(np.full((32, 32, 3), (10, 60, 200), np.uint8), ".webp"))
    np.testing.assert_allclose(decoded, np.broadcast_to((200, 60, 10), (32, 32, 3)), atol=6)


@pytest.mark.parametrize("format_name", ["h264", "hevc", "rgb8; H265 compressed"])
def test_video_is_named_with_the_remedy(format_name):
    with pytest.raises(ImageError, match="republish it as images: ros2 run image_transport republish"):
        decode_compressed_image(SimpleNamespace(format=format_name, data=bytes((0, 0, 0, 1, 0x67, 0x42))))


def test_jpeg_keeps_the_order_of_colours():
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 2] = 250
    decoded = decode_compressed_image(compressed(red, ".jpg", "bgr8; jpeg compressed bgr8"))
    np.testing.assert_allclose(decoded, np.broadcast_to((250, 0, 0), (16, 16, 3)), atol=4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no data"),
        (b"RIFF....WAVEfmt", "JPEG, PNG, WebP, TIFF and BMP files are supported"),
        (b"RIFF....WEBP", "damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "damaged"),
        (compressed(RGB, ".png").data[:60], "damaged"),
    ],
)
def test_compressed_data_that_is_no_image_is_refused(data, words):
    with pytest.raises(ImageError, match=words):
        decode_compressed_image(SimpleNamespace(format="jpeg", data=data))

"""Any image message and camera_info gives a frame or an error of this package, in bounded memory."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fuzzing import Limits, camera_info, check_frame, damaged, fuzz, header, raw, with_checksums
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros import images
from iup_pose_ros.errors import ImageError
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.geometry.lens import ACCEPTED_MODELS
from iup_pose_ros.images import SUPPORTED_ENCODINGS, decode_compressed_image
from iup_pose_ros.stamps import epoch_seconds

EXTENSIONS = (".jpg", ".png", ".webp", ".tiff", ".bmp")
SIDE = 1024  # of the largest image that these tests accept


def picture(size, kind):
    """A smooth image of size x size, uint8 or uint16, with noise."""
    rng = np.random.default_rng(size)
    levels = cv2.resize(rng.random((8, 8, 3)), (size, size)) * 0.9 + 0.1 * rng.random((size, size, 3))
    return (levels * np.iinfo(kind).max).astype(kind)


def encoded(extension, size=40):
    """Files of one format: colour and grey, of 8 and 16 bits where the format has them."""
    kinds = (np.uint8, np.uint16) if extension in (".png", ".tiff") else (np.uint8,)
    pictures = [picture(size, kind) for kind in kinds]
    pictures += [np.ascontiguousarray(shown[..., 1]) for shown in pictures]
    return [cv2.imencode(extension, shown)[1].tobytes() for shown in pictures]


def compressed(data):
    return SimpleNamespace(header=header(), format="jpeg", data=data)


@pytest.fixture(scope="module", autouse=True)
def small_maximum():
    """The largest file is of a megapixel here, so that a larger one shows in the memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MAX_FILE_PIXELS", SIDE * SIDE)
        yield


@pytest.fixture(scope="module")
def limits():
    """Limits of the memory, from the largest accepted image of 16-bit colour."""
    large = cv2.imencode(".png", picture(SIDE, np.uint16))[1].tobytes()
    decode_compressed_image(compressed(large))  # what is loaded once does not count
    return Limits(SIDE * SIDE * 3 * 2)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_damaged_file_is_decoded_or_refused(limits, extension):
    originals = encoded(extension)

    @fuzz(10_000)
    @given(data=damaged(originals))
    def check(data):
        decoded = limits.check(lambda: decode_compressed_image(compressed(data)))
        assert decoded is None or decoded.size <= 3 * SIDE * SIDE

    check()


values = st.one_of(st.floats(), st.floats(-10.0, 100.0), st.integers(-(2**40), 2**40))
sizes = st.one_of(st.integers(0, 64), st.integers(0, 2**32 - 1))


def test_any_image_message_is_a_frame_or_refused(limits):
    encodings = st.one_of(st.sampled_from(SUPPORTED_ENCODINGS), st.text(max_size=12))

    @fuzz(1_500, share=0.1)
    @given(
        encoding=encodings,
        width=sizes,
        height=sizes,
        surplus=st.integers(-2, 9),
        fill=st.binary(min_size=1, max_size=32),
        big=st.integers(0, 2),
        as_calibrated=st.booleans(),
    )
    def check(encoding, width, height, surplus, fill, big, as_calibrated):
        step = max(width * (8 if "16" in encoding else 4) + surplus, 0)
        data = (fill * 800)[: step * height] if width * height < 2**16 else fill
        data = (
            (data * (step * height // max(len(data), 1) + 1))[: step * height] if len(data) > 1000 else data
        )
        info = camera_info(width, height) if as_calibrated else camera_info(32, 24)
        image = raw(encoding, width, height, step, data, big)
        check_frame(limits.check(lambda: FrameBuilder(epoch_seconds).build(image, info)))

    check()


def test_any_compressed_message_is_a_frame_or_refused(limits):
    originals = [data for extension in EXTENSIONS for data in encoded(extension)]

    @fuzz(1_500, share=0.1)
    @given(data=st.one_of(damaged(originals), st.binary(max_size=200)), size=st.sampled_from((40, 80, 1024)))
    def check(data, size):
        builder = FrameBuilder(epoch_seconds, compressed=True)
        check_frame(limits.check(lambda: builder.build(compressed(data), camera_info(size, size))))

    check()


def test_any_camera_info_is_used_or_refused(limits):
    image = raw("mono8", 48, 32, 48, bytes(range(256)) * 6)
    lists = st.lists(values, max_size=15)
    region = st.builds(
        SimpleNamespace, x_offset=sizes, y_offset=sizes, width=sizes, height=sizes, do_rectify=st.booleans()
    )
    fields = {
        "width": st.one_of(st.just(48), sizes),
        "height": st.one_of(st.just(32), sizes),
        "distortion_model": st.one_of(st.sampled_from(ACCEPTED_MODELS), st.text(max_size=8)),
        "d": st.one_of(lists, st.lists(st.floats(-2.0, 2.0), min_size=4, max_size=14)),
        "k": st.lists(values, min_size=9, max_size=9),
        "p": st.lists(values, min_size=12, max_size=12),
        "binning_x": sizes,
        "binning_y": sizes,
        "roi": region,
        "header": st.builds(header, st.text(max_size=4)),
    }

    @fuzz(2_000, share=0.1)
    @given(changed=st.fixed_dictionaries({}, optional=fields))
    def check(changed):
        info = camera_info(48, 32)
        vars(info).update(changed)
        check_frame(limits.check(lambda: FrameBuilder(epoch_seconds).build(image, info)))

    check()


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_that_declares_too_many_pixels_is_refused_before_it_is_decoded(extension, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_PIXELS", 99 * 100)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    data = cv2.imencode(extension, np.zeros((100, 100, 3), dtype=np.uint8))[1].tobytes()
    with pytest.raises(ImageError, match=r"declares 100x100 pixels; at most 9900 in total are decoded"):
        decode_compressed_image(compressed(data))


def test_a_png_bomb_is_refused():
    # 50000 x 50000 grey pixels are 2.5 GB; the file has some hundred bytes.
    begin = cv2.imencode(".png", np.zeros((4, 4), dtype=np.uint8))[1].tobytes()
    declared = begin[:16] + (50_000).to_bytes(4, "big") * 2 + begin[24:]
    with pytest.raises(ImageError, match="2500000000 pixels"):
        decode_compressed_image(compressed(with_checksums(declared)))

"""What the fuzz tests share: messages, damaged bytes, the number of inputs, and limits of time and memory.

`make fuzz` sets FUZZ=1 and tries up to a hundred times as many inputs, new ones each time. Without it the
inputs are the same in every run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from iup_pose_ros.errors import IupPoseError

_IS_COMPLETE = bool(os.environ.get("FUZZ"))
# Seconds after which an input counts as a hang; a usual one takes milliseconds.
_HANG = 60
_INTERPRETER = 4_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\x7f\xff",
    b"\x00\x80",
)


def fuzz(complete: int, share: float = 0.01) -> settings:
    """Settings that try ``complete`` inputs with FUZZ=1, and a share of them without."""
    return settings(
        max_examples=complete if _IS_COMPLETE else max(round(complete * share), 1),
        deadline=None,
        derandomize=not _IS_COMPLETE,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: Any, originals: Sequence[bytes]) -> bytes:
    """One of the byte strings with single bytes and words overwritten, parts repeated, or its end cut off."""
    data = bytearray(draw(st.sampled_from(originals)))
    places = st.one_of(st.integers(0, 127), st.integers(0, len(data)))
    values = st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from(_WORDS))
    for place, value in draw(st.lists(st.tuples(places, values), max_size=6)):
        data[place : place + len(value)] = value
    if draw(st.booleans()):
        begin, end = sorted(draw(st.tuples(places, places)))
        data[end:end] = data[begin:end][:4096]
    if draw(st.booleans()):
        del data[draw(places) :]
    return with_checksums(bytes(data))


def with_checksums(data: bytes) -> bytes:
    """The bytes with the checksums of PNG chunks made right, so that damage gets past them."""
    if not data.startswith(_PNG):
        return data
    mended, place = bytearray(data), len(_PNG)
    while place + 12 <= len(mended):
        end = place + 8 + int.from_bytes(mended[place : place + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(mended)


class Limits:
    """Runs actions that may raise IupPoseError and nothing else, within limits of time and memory.

    Args:
        largest: size in bytes of the largest valid input; no action may take more than three times as much,
            apart from what the interpreter takes now and then.
    """

    def __init__(self, largest: int) -> None:
        self._allowed = 3 * largest + _INTERPRETER

    def check(self, action: Callable[[], Any]) -> Any:
        """The result of the action; None where it raises IupPoseError."""
        found: list[Any] = []

        def attempt() -> None:
            with contextlib.suppress(IupPoseError):
                found.append(action())

        before = signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(_HANG)
        try:
            peak = memory_peak(attempt)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        assert peak <= self._allowed, f"{peak} bytes in use, {self._allowed} are allowed"
        return found[0] if found else None


def memory_peak(action: Callable[[], Any]) -> int:
    """The growth in bytes of this process's resident memory while an action runs, at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts from what is in use now
    before = _resident("VmRSS")
    action()
    return _resident("VmHWM") - before


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def _hangs(number: int, frame: Any) -> None:
    raise TimeoutError(f"no result after {_HANG} s")


def header(frame_id: str = "camera_optical") -> SimpleNamespace:
    """Header of a message."""
    return SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=1, nanosec=2))


def raw(
    encoding: str, width: int, height: int, step: int, data: bytes, is_bigendian: int = 0
) -> SimpleNamespace:
    """sensor_msgs/Image with any values."""
    fields = {"encoding": encoding, "width": width, "height": height, "step": step, "data": data}
    return SimpleNamespace(header=header(), is_bigendian=is_bigendian, **fields)


def camera_info(width: int, height: int) -> SimpleNamespace:
    """camera_info of a usual camera."""
    region = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    fields = {
        "header": header(),
        "width": width,
        "height": height,
        "distortion_model": "plumb_bob",
        "d": [-0.1, 0.01, 0.001, 0.0, 0.0],
        "k": [width, 0.0, width / 2 - 0.5, 0.0, width, height / 2 - 0.5, 0.0, 0.0, 1.0],
        "p": [width, 0.0, width / 2 - 0.5, 0.0, 0.0, width, height / 2 - 0.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": region,
    }
    return SimpleNamespace(**fields)


def check_frame(frame: Any) -> None:
    """Fails if a frame, unless it is None, is not consistent."""
    if frame is None:
        return
    assert frame.image.dtype == np.uint8
    assert frame.image.shape[:2] == (frame.intrinsics.height, frame.intrinsics.width)
    assert np.isfinite(frame.intrinsics.matrix).all()

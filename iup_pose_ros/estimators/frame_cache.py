"""Cache of what an estimator computes from one frame alone, such as descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from iup_pose_ros.types import Frame

_Value = TypeVar("_Value")


class FrameCache(Generic[_Value]):
    """Values of the most recently used frames.

    In video one frame is compared with several others: the keyframe with every image until the next keyframe,
    which then is the keyframe itself. With two entries, both are computed once. Not thread-safe.

    Args:
        compute: returns the value of a frame; its exceptions are passed on.
        capacity: maximum number of values.
    """

    def __init__(self, compute: Callable[[Frame], _Value], capacity: int = 2) -> None:
        self._compute = compute
        self._capacity = capacity
        self._entries: list[tuple[Frame, _Value]] = []

    def __call__(self, frame: Frame) -> _Value:
        """Return the value of a frame. Frames with the same image array and intrinsics share one value."""
        for index, (known, value) in enumerate(self._entries):
            if known.image is frame.image and known.intrinsics == frame.intrinsics:
                self._entries.append(self._entries.pop(index))
                return value
        value = self._compute(frame)
        self._entries = [*self._entries, (frame, value)][-self._capacity :]
        return value

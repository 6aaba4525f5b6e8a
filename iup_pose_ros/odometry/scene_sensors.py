"""Depth images and range measurements by time, for metric scale; thread-safe, without ROS."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.depth_decoding import FARTHEST, NEAREST, decode_depth
from iup_pose_ros.errors import EstimationError, ImageError, IupPoseError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds
from iup_pose_ros.types import DepthImage

# Relative standard deviation of a range.
_RANGE_NOISE = 0.01


class DepthImages(Protocol):
    """Interface of a depth camera for the scale."""

    def at(self, stamp: float) -> DepthImage:
        """Return the depth image of the image at ``stamp``, seconds.

        Raises:
            EstimationError: there is none, or it is unusable.
        """


@dataclass(frozen=True, eq=False)
class RangeReading:
    """A measurement of a range sensor.

    Attributes:
        point: (3,) the measured point in the base frame, metres.
        field_of_view: angle of the beam, radians.
        relative_sigma: relative standard deviation of the range.
    """

    point: Array
    field_of_view: float
    relative_sigma: float


class RangeReadings(Protocol):
    """Interface of a range sensor for the scale."""

    def at(self, stamp: float) -> RangeReading:
        """Return the measurement at ``stamp``, seconds.

        Raises:
            EstimationError: there is none, or nothing is within range.
        """


class MessageHistory:
    """The last messages of a topic by stamp; thread-safe.

    Args:
        what: name of the messages in errors.
        memory: maximum number of messages.
    """

    def __init__(self, what: str, memory: int = 60) -> None:
        self._what = what
        self._memory = memory
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._messages: list[Any] = []

    def add(self, message: Any) -> None:
        """Add a message with a header; one more than a second older than the last clears the history."""
        stamp = nanoseconds(message.header.stamp)
        with self._lock:
            if self._stamps and stamp < self._stamps[-1] - NANOSECONDS:
                self._stamps.clear()
                self._messages.clear()
            position = bisect.bisect_right(self._stamps, stamp)
            self._stamps.insert(position, stamp)
            self._messages.insert(position, message)
            del self._stamps[: -self._memory], self._messages[: -self._memory]

    def nearest(self, stamp: int, slop: float) -> Any:
        """Return the message nearest to a stamp in nanoseconds, at most ``slop`` seconds away.

        Raises:
            EstimationError: there is none.
        """
        with self._lock:
            if not self._stamps:
                raise EstimationError(f"no {self._what} received")
            position = bisect.bisect_left(self._stamps, stamp)
            around = [row for row in (position - 1, position) if 0 <= row < len(self._stamps)]
            row = min(around, key=lambda row: abs(self._stamps[row] - stamp))
            distance = abs(self._stamps[row] - stamp) / NANOSECONDS
            if distance > slop:
                raise EstimationError(
                    f"the nearest {self._what} differs by {distance:.3f} s from the image, maximum {slop:g} "
                    "s (depth_slop)"
                )
            return self._messages[row]


class DepthHistory:
    """Depth images registered to the camera (implements DepthImages).

    Args:
        messages: sensor_msgs/Image or, if compressed, CompressedImage.
        slop: maximum difference of stamps, seconds.
        to_nanoseconds: converts the odometry's seconds to stamps.
        undistort: returns the depths of the undistorted image and its intrinsics; raises ImageError if the
            size is not that of the image.
    """

    def __init__(
        self,
        messages: MessageHistory,
        slop: float,
        to_nanoseconds: Callable[[float], int],
        undistort: Callable[[NDArray[np.float32]], DepthImage],
    ) -> None:
        self._messages = messages
        self._slop = slop
        self._to_nanoseconds = to_nanoseconds
        self._undistort = undistort

    def at(self, stamp: float) -> DepthImage:
        """See DepthImages.at."""
        message = self._messages.nearest(self._to_nanoseconds(stamp), self._slop)
        try:
            return self._undistort(decode_depth(message))
        except ImageError as error:
            raise EstimationError(str(error)) from error


class RangeHistory:
    """Measurements of a range sensor whose beam is the x axis of its frame (implements RangeReadings).

    Args:
        messages: sensor_msgs/Range.
        slop: maximum difference of stamps, seconds.
        to_nanoseconds: converts the odometry's seconds to stamps.
        find_mount: returns T_base_sensor of a frame at a stamp (builtin_interfaces/Time); raises an
            IupPoseError if it is unknown.
    """

    def __init__(
        self,
        messages: MessageHistory,
        slop: float,
        to_nanoseconds: Callable[[float], int],
        find_mount: Callable[[str, Any], Pose],
    ) -> None:
        self._messages = messages
        self._slop = slop
        self._to_nanoseconds = to_nanoseconds
        self._find_mount = find_mount

    def at(self, stamp: float) -> RangeReading:
        """See RangeReadings.at; -inf, inf and NaN have the meaning of REP-117."""
        message = self._messages.nearest(self._to_nanoseconds(stamp), self._slop)
        value = float(message.range)
        # Drivers that declare 0 as the minimum report 0 where nothing is measured; NaN limits are no limits.
        limits = (max(NEAREST, float(message.min_range)), min(FARTHEST, float(message.max_range)))
        if not limits[0] <= value <= limits[1]:
            where = "is invalid" if math.isnan(value) else ""
            where = where or ("is too near" if value < limits[0] else "is out of reach")
            raise EstimationError(
                f"range {value:g} m {where}; the sensor measures {limits[0]:g} to {limits[1]:g} m"
            )
        try:
            T_base_sensor = self._find_mount(message.header.frame_id, message.header.stamp)
        except IupPoseError as error:
            raise EstimationError(str(error)) from error
        field_of_view = float(message.field_of_view)
        if not 0.0 <= field_of_view <= math.pi:
            raise EstimationError(
                f"range sensor has a field of view of {field_of_view:g} rad; 0 to pi is accepted"
            )
        # A wide beam measures the nearest point in it, which may lie off its axis.
        sigma = math.hypot(_RANGE_NOISE, 1.0 / math.cos(min(0.5 * field_of_view, 1.0)) - 1.0)
        return RangeReading(T_base_sensor.apply(np.array([value, 0.0, 0.0])), field_of_view, sigma)

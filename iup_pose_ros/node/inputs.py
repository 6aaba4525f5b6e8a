"""Image and camera_info input: pairing, counters of unpaired images, detection of missing messages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.node import Node

import iup_pose_ros
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.reporting import Report, Severity
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import QUEUE_SIZE, CameraSubscriptions
from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.stamps import NANOSECONDS, StampIntervals, nanoseconds

# camera_info is rare if in this number of images there are fewer camera_info than this share of it.
_RARITY_WINDOW = 10
_RARE_SHARE = 0.7
# Bytes of Fast DDS's default shared-memory segment, and the profile with larger buffers.
_LARGE = 512 * 1024
_PROFILE = Path(iup_pose_ros.__file__).parent / "replay" / "fastdds_large_images.xml"


def profile_hint(image_bytes: int) -> str:
    """Return the remedy for images that fill Fast DDS's buffers; empty if they are small or it has a profile.

    Small messages beside them, such as camera_info, are lost, too.
    """
    if image_bytes <= _LARGE or "FASTDDS_DEFAULT_PROFILES_FILE" in os.environ:
        return ""
    return (
        f"; images of {1e-6 * image_bytes:.1f} MB do not fit Fast DDS's default buffers: start driver and "
        f"node with FASTDDS_DEFAULT_PROFILES_FILE={_PROFILE}"
    )


class Unpaired:
    """Stamps of images that wait for their camera_info; counts those that will never get it.

    Args:
        limit: maximum number of waiting images.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stamps: list[int] = []

    def add(self, stamp: int) -> int:
        """Add an image; return how many older images are dropped for it."""
        self._stamps.append(stamp)
        return self._drop_oldest(len(self._stamps) - self._limit)

    def pair(self, stamp: int) -> int:
        """Remove the paired image of this stamp; return how many older unpaired images are dropped.

        It is -1 for an image that was counted as dropped already: it got its camera_info after all.
        """
        if stamp not in self._stamps:
            return -1
        position = self._stamps.index(stamp)
        del self._stamps[position]
        return self._drop_oldest(position)

    def clear(self) -> int:
        """Drop all and return their number."""
        return self._drop_oldest(len(self._stamps))

    def _drop_oldest(self, number: int) -> int:
        number = max(number, 0)
        del self._stamps[:number]
        return number


class InfoRarity:
    """Detects that camera_info, once received, arrives at a lower rate than images.

    Attributes:
        is_rare: result for the last window of images.
    """

    def __init__(self) -> None:
        self.is_rare = False
        self._images = self._infos = 0
        self._is_known = False

    def on_info(self) -> None:
        """Count a camera_info."""
        self._is_known = True
        self._infos += 1

    def on_image(self) -> None:
        """Count an image; after a window of images update ``is_rare``."""
        self._images += 1
        if self._images == _RARITY_WINDOW:
            self.is_rare = self._is_known and self._infos < _RARE_SHARE * self._images
            self._images = self._infos = 0


@dataclass
class _Arrivals:
    """Arrival times of the last messages, seconds of the monotonic clock."""

    image: float
    info: float
    pair: float


class ImageInputs:
    """Receives the images of one camera with its camera_info and detects missing messages.

    Args:
        node: owner of the subscriptions.
        config: settings.
        monitor: counts every image, and unpaired ones as dropped.
        on_pair: called with (image, camera_info) in the executor's thread.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        monitor: Monitor,
        on_pair: Callable[[Any, Any], None],
    ) -> None:
        self._monitor = monitor
        self._on_pair = on_pair
        self.timeout = config.input_timeout
        self._unpaired = Unpaired(QUEUE_SIZE)
        self._newest_stamp: int | None = None
        now = time.monotonic()
        self._arrivals = _Arrivals(now, now, now)
        self.last_header: Any = None
        self._intervals = StampIntervals()
        self._rarity = InfoRarity()
        self._policy = config.camera_info_policy
        self._info: Any = None
        self._image_bytes = 0
        self._subscriptions = CameraSubscriptions(
            node,
            config,
            self._on_image,
            self._on_info,
            # With the last camera_info, an image has been passed on when it arrived.
            on_pair=lambda *pair: None if self._holds_info else self._pass_on(*pair),
        )

    def follow_publishers(self) -> None:
        """Adapt the subscriptions to the quality of service of the current publishers."""
        self._subscriptions.follow_publishers()

    def close(self) -> None:
        """End the subscriptions."""
        self._subscriptions.close()

    @property
    def _holds_info(self) -> bool:
        """Whether images are paired with the last camera_info rather than that of their stamp."""
        return self._policy == "latest" or self._rarity.is_rare

    @property
    def warnings(self) -> list[str]:
        """Warnings about images and camera_info, one sentence each."""
        rare = ""
        if self._rarity.is_rare:
            rare = (
                f"camera_info on {self._subscriptions.topics[1]} has a lower rate than the images: the last "
                "one is used for every image (camera_info_policy)"
            )
        return [text for text in (rare, self._subscriptions.warning, self._intervals.warning) if text]

    def fault(self) -> Report | None:
        """Return why images do not reach the odometry; None while they do.

        Images that were received and then stopped are no fault: every recording ends like this.
        """
        image_topic, info_topic = self._subscriptions.topics
        now = time.monotonic()
        arrivals = self._arrivals
        if now - arrivals.pair < self.timeout:
            return None
        if now - arrivals.image >= self.timeout:
            # A camera or a player that has not started is no error, nor is one that has stopped.
            silence = self._silence("image", image_topic, now - arrivals.image)
            return None if self.last_header else Report(TrackingState.LOST, silence, Severity.WARNING)
        if now - arrivals.info >= self.timeout:
            silence = self._silence("camera_info", info_topic, now - arrivals.info)
            return Report(TrackingState.LOST, silence, Severity.ERROR)
        return Report(
            TrackingState.LOST,
            f"no camera_info on {info_topic} has the stamp of an image on {image_topic}; "
            "set sync_slop to pair stamps that differ, or camera_info_policy to latest to use the last one",
            Severity.ERROR,
        )

    def _silence(self, what: str, topic: str, seconds: float) -> str:
        """Return a message that nothing arrives on a topic, with the probable cause."""
        cause = self._subscriptions.why_silent(topic) + profile_hint(self._image_bytes)
        return f"no {what} on {topic} for {seconds:.1f} s: {cause}"

    def _on_image(self, image: Any) -> None:
        self._arrivals.image = time.monotonic()
        self._monitor.on_image()
        self.last_header = image.header
        self._image_bytes = len(image.data)
        stamp = nanoseconds(image.header.stamp)
        if self._newest_stamp is not None and stamp < self._newest_stamp - NANOSECONDS:
            # With sync_slop the camera_info of the new time may be a little later than its image.
            self._subscriptions.forget_later(stamp + NANOSECONDS)
            self._monitor.count(dropped_invalid=self._unpaired.clear())
        self._newest_stamp = stamp
        self._intervals.add(stamp)
        self._monitor.count(dropped_invalid=self._unpaired.add(stamp))
        self._rarity.on_image()
        if self._holds_info and self._info is not None:
            self._pass_on(image, self._info)

    def _on_info(self, info: Any) -> None:
        self._arrivals.info = time.monotonic()
        self._info = info
        self._rarity.on_info()

    def _pass_on(self, image: Any, info: Any) -> None:
        self._monitor.count(dropped_invalid=self._unpaired.pair(nanoseconds(image.header.stamp)))
        self._arrivals.pair = time.monotonic()
        self._on_pair(image, info)

"""The images that come in, the count of those without camera_info, and what to say when they stay away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.reporting import Report, Severity
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import QUEUE_SIZE, CameraSubscriptions
from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.stamp_intervals import StampIntervals
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds

# camera_info is rare where so many images come with less than this share of as many of it.
_RARITY_WINDOW = 10
_RARE_SHARE = 0.7


class Unpaired:
    """Images that still wait for their camera_info; tells how many never will get it.

    Args:
        limit: so many may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stamps: list[int] = []

    def add(self, stamp: int) -> int:
        """An image came; returns the number of images given up for it."""
        self._stamps.append(stamp)
        return self._give_up(len(self._stamps) - self._limit)

    def pair(self, stamp: int) -> int:
        """The image of this stamp found its partner; returns how many before it never will."""
        position = self._stamps.index(stamp) if stamp in self._stamps else -1
        if position >= 0:
            del self._stamps[position]
        return self._give_up(position)

    def clear(self) -> int:
        """Gives all up and returns their number."""
        return self._give_up(len(self._stamps))

    def _give_up(self, number: int) -> int:
        number = max(number, 0)
        del self._stamps[:number]
        return number


class InfoRarity:
    """Tells whether camera_info, once there was one, comes more rarely than images.

    Attributes:
        is_rare: whether it did among the last images.
    """

    def __init__(self) -> None:
        self.is_rare = False
        self._images = self._infos = 0
        self._is_known = False

    def on_info(self) -> None:
        """A camera_info came."""
        self._is_known = True
        self._infos += 1

    def on_image(self) -> None:
        """An image came; so many together tell whether there is too little camera_info between them."""
        self._images += 1
        if self._images == _RARITY_WINDOW:
            self.is_rare = self._is_known and self._infos < _RARE_SHARE * self._images
            self._images = self._infos = 0


@dataclass
class _Arrivals:
    """When messages last came, seconds of the monotonic clock."""

    image: float
    info: float
    pair: float


class ImageInputs:
    """Receives the images of one camera with its camera_info, and knows what stays away.

    Args:
        node: owner of the subscriptions.
        config: settings.
        monitor: counts every image, and those that never find their camera_info.
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
        self._subscriptions = CameraSubscriptions(node, config, self._on_image, self._on_info, self._on_both)

    def follow_publishers(self) -> None:
        """Adapts the subscriptions to the publishers there are now."""
        self._subscriptions.follow_publishers()

    def close(self) -> None:
        """Ends the subscriptions."""
        self._subscriptions.close()

    @property
    def _holds_info(self) -> bool:
        """Whether images get the last camera_info rather than that of their stamp."""
        return self._policy == "latest" or self._rarity.is_rare

    @property
    def warnings(self) -> list[str]:
        """What is unusual about images and camera_info, a sentence each."""
        rare = ""
        if self._rarity.is_rare:
            rare = (
                f"camera_info on {self._subscriptions.topics[1]} is rarer than images: the last one is used "
                "for every image (camera_info_policy)"
            )
        return [text for text in (rare, self._subscriptions.warning, self._intervals.warning) if text]

    def fault(self) -> Report | None:
        """Return why images do not reach the odometry; None while they do.

        Images that were received and then ended are no fault: so ends every recording.
        """
        image_topic, info_topic = self._subscriptions.topics
        now = time.monotonic()
        arrivals = self._arrivals
        if now - arrivals.pair < self.timeout:
            return None
        if now - arrivals.image >= self.timeout:
            # A camera or a player that has not begun is no error; one that has ended is none either.
            silence = self._silence("image", image_topic, now - arrivals.image)
            return None if self.last_header else Report(TrackingState.LOST, silence, Severity.WARNING)
        if now - arrivals.info >= self.timeout:
            silence = self._silence("camera_info", info_topic, now - arrivals.info)
            return Report(TrackingState.LOST, silence, Severity.ERROR)
        return Report(
            TrackingState.LOST,
            f"no camera_info on {info_topic} has the stamp of an image on {image_topic}; "
            "sync_slop accepts stamps that differ",
            Severity.ERROR,
        )

    def _silence(self, what: str, topic: str, seconds: float) -> str:
        return f"no {what} on {topic} for {seconds:.1f} s: {self._subscriptions.why_silent(topic)}"

    def _on_image(self, image: Any) -> None:
        self._arrivals.image = time.monotonic()
        self._monitor.on_image()
        self.last_header = image.header
        stamp = nanoseconds(image.header.stamp)
        if self._newest_stamp is not None and stamp < self._newest_stamp - NANOSECONDS:
            # Slop may make the camera_info of the new time a little later than its image.
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

    def _on_both(self, image: Any, info: Any) -> None:
        if not self._holds_info:
            self._pass_on(image, info)

    def _pass_on(self, image: Any, info: Any) -> None:
        self._monitor.count(dropped_invalid=self._unpaired.pair(nanoseconds(image.header.stamp)))
        self._arrivals.pair = time.monotonic()
        self._on_pair(image, info)

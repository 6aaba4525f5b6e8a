"""What should be mended in a recording before its odometry is judged, most urgent first. Needs no ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC, StaticTransforms
from iup_pose_ros.camera_frames import optical_frame_warning
from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.stamp_intervals import StampIntervals

# Seconds of the recording that are looked at.
_LOOKED_AT = 10.0
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """Something to mend.

    Attributes:
        text: one sentence, with the remedy.
        is_fatal: whether images cannot be used because of it.
    """

    text: str
    is_fatal: bool = False


def examine(bag: BagReader, base_frame: str) -> list[Finding]:
    """Return what is wrong or unusual about the camera of a recording, most urgent first.

    Args:
        bag: the recording; its first ten seconds are read.
        base_frame: frame of the robot, to which the camera's mount is looked up.

    Raises:
        DataError: the file is damaged.
    """
    faults: Counter[str] = Counter()
    stamps = _first_stamps(bag)
    used, repeats = _count(bag, stamps, faults)
    findings = [
        Finding(f"{count} of {len(stamps)} images cannot be used: {fault}", is_fatal=True)
        for fault, count in faults.most_common()
    ]
    findings += [*_of_stamps(stamps), *_of_repeats(used, repeats)]
    findings += [Finding(warning) for warning in bag.warnings]
    return [*findings, *_of_camera_info(bag), *_of_mount(bag, base_frame)]


def _first_stamps(bag: BagReader) -> list[int]:
    """Stamps of the images in the first seconds."""
    stamps: list[int] = []
    for stamp in bag.image_stamps():
        if stamps and stamp - stamps[0] > _LOOKED_AT * _NANOSECONDS:
            break
        stamps.append(stamp)
    return stamps


def _count(bag: BagReader, stamps: list[int], faults: Counter[str]) -> tuple[int, int]:
    """Read the images of these stamps; return how many can be used and repeat the one before."""

    def count(_: int, fault: IupPoseError) -> None:
        faults[str(fault)] += 1

    used = repeats = 0
    last: NDArray[np.uint8] | None = None
    for frame in bag.frames(set(stamps), on_bad_image=count):
        used += 1
        repeats += last is not None and np.array_equal(frame.image, last)
        last = frame.image
    return used, repeats


def _of_stamps(stamps: list[int]) -> Iterator[Finding]:
    steps = np.diff(stamps)
    if len(steps) and np.any(steps <= 0):
        what = "are all 0" if not any(stamps) else "do not increase everywhere"
        share = f"{int(np.count_nonzero(steps <= 0))} of {len(steps)}"
        yield Finding(
            f"stamps of images {what} ({share} steps): the driver must stamp images when they are exposed",
            is_fatal=bool(np.mean(steps <= 0) > 0.5),
        )
        return
    intervals = StampIntervals()
    for stamp in stamps:
        intervals.add(stamp)
    if intervals.warning:
        yield Finding(intervals.warning)
    if len(steps) and float(np.median(steps)) > 0.3 * _NANOSECONDS:
        yield Finding(
            f"images come every {np.median(steps) / _NANOSECONDS:.2f} s: tracks between them are few; record "
            "at 5 Hz at least"
        )


def _of_repeats(used: int, repeats: int) -> Iterator[Finding]:
    if repeats:
        yield Finding(
            f"{repeats} of {used} images repeat the pixels of the one before: the driver sends images again"
        )


def _of_camera_info(bag: BagReader) -> Iterator[Finding]:
    infos, images = bag.topics[bag.camera.info].count, bag.image_count
    if infos < 0.7 * images:
        yield Finding(
            f"camera_info on {bag.camera.info} is rarer than images ({infos} for {images}): the last one is "
            "used; right where the calibration is constant"
        )


def _of_mount(bag: BagReader, base_frame: str) -> Iterator[Finding]:
    frame = bag.camera_frame
    if not frame:
        yield Finding(
            "images have no frame_id: the driver must name the camera's optical frame", is_fatal=True
        )
        return
    mount = StaticTransforms.read(bag).find(base_frame, frame)
    if mount is None:
        where = "no transform" if TF_STATIC in bag.topics else f"no {TF_STATIC}"
        yield Finding(
            f"{where} from {base_frame} to {frame}: the node needs the camera's mount: ros2 run tf2_ros "
            f"static_transform_publisher --frame-id {base_frame} --child-frame-id {frame} --x ... --yaw ..., "
            "or assume_identity_mount:=true"
        )
    elif warning := optical_frame_warning(frame, base_frame, mount):
        yield Finding(warning)

"""Checks of a recording for problems of camera driver, calibration and extrinsics; without ROS."""

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

# Seconds of the recording that are examined.
_EXAMINED = 10.0
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """A problem of the recording.

    Attributes:
        text: one sentence, with the remedy.
        is_fatal: whether it makes images unusable.
    """

    text: str
    is_fatal: bool = False


def examine(bag: BagReader, base_frame: str) -> list[Finding]:
    """Return the problems of the camera of a recording, most urgent first.

    Args:
        bag: the recording; its first ten seconds are read.
        base_frame: frame of the robot, for the camera's extrinsics.

    Raises:
        DataError: the file is damaged.
    """
    faults: Counter[str] = Counter()
    stamps: list[int] = []
    for stamp in bag.image_stamps():
        if stamps and stamp - stamps[0] > _EXAMINED * _NANOSECONDS:
            break
        stamps.append(stamp)
    used, repeats = _count(bag, stamps, faults)
    findings = [
        Finding(f"{count} of {len(stamps)} images cannot be used: {fault}", is_fatal=True)
        for fault, count in faults.most_common()
    ]
    findings += _of_stamps(stamps)
    if repeats:
        repetition = f"{repeats} of {used} images repeat the pixels of the previous one"
        findings.append(Finding(f"{repetition}: the driver sends images again"))
    findings += [Finding(warning) for warning in bag.warnings]
    infos, images = bag.topics[bag.camera.info].count, bag.image_count
    if infos < 0.7 * images:
        rate = f"camera_info on {bag.camera.info} has a lower rate than the images ({infos} for {images})"
        findings.append(Finding(f"{rate}: the last one is used; correct if the calibration is constant"))
    return [*findings, *_of_extrinsics(bag, base_frame)]


def _count(bag: BagReader, stamps: list[int], faults: Counter[str]) -> tuple[int, int]:
    """Read the images of these stamps; return how many are usable and how many repeat the previous one."""

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
    """Yield the problems of the image stamps."""
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
            f"images are {np.median(steps) / _NANOSECONDS:.2f} s apart: few tracks survive; record "
            "at 5 Hz or more"
        )


def _of_extrinsics(bag: BagReader, base_frame: str) -> Iterator[Finding]:
    """Yield the problems of the camera's frame and extrinsics."""
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
            f"{where} from {base_frame} to {frame}: the node needs the camera's extrinsics: ros2 run tf2_ros "
            f"static_transform_publisher --frame-id {base_frame} --child-frame-id {frame} --x ... --yaw ..., "
            "or assume_identity_mount:=true"
        )
    elif warning := optical_frame_warning(frame, base_frame, mount):
        yield Finding(warning)

"""Checks of a camera for problems of driver, calibration and extrinsics, on a recording; without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from iup_pose_ros.bags.messages import COMPRESSED_IMAGE
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC, StaticTransforms
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.frame_builder import FrameBuilder
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.message_poses import frame_name, optical_frame_warning
from iup_pose_ros.stamps import NANOSECONDS, StampIntervals, epoch_seconds, nanoseconds
from iup_pose_ros.types import Frame

EXAMINED = 10.0
"""Seconds of a recording or of live topics that are examined."""
# Seconds between two images that are worth a word.
_GAP = 2.0


@dataclass(frozen=True)
class Finding:
    """A problem of the camera.

    Attributes:
        text: one sentence, with the remedy.
        is_fatal: whether it makes images unusable.
    """

    text: str
    is_fatal: bool = False


class CameraExamination:
    """Collects what is wrong with the images of one camera.

    Args:
        image_topic: topic of the images.
        image_kind: type of the images.
        config: settings for reading images and camera_info.
    """

    def __init__(self, image_topic: str, image_kind: str, config: CameraConfig) -> None:
        is_compressed = image_kind == COMPRESSED_IMAGE
        self._builder = FrameBuilder(epoch_seconds, is_compressed, config, image_topic)
        self._faults: Counter[str] = Counter()
        self._warnings: dict[str, None] = {}
        self._last: Frame | None = None
        self._used = self._repeats = 0
        self.stamps: list[int] = []
        self.frame_id = ""

    def add(self, image: Any, info: Any) -> None:
        """Examine an image with its camera_info."""
        self.stamps.append(nanoseconds(image.header.stamp))
        self.frame_id = frame_name(image.header.frame_id)
        try:
            frame = self._builder.build(image, info)
        except IupPoseError as error:
            self._faults[str(error)] += 1
            return
        self._warnings.update(dict.fromkeys(self._builder.warnings))
        self._used += 1
        self._repeats += self._last is not None and frame.repeats(self._last)
        self._last = frame

    def findings(self) -> Iterator[Finding]:
        """Yield the problems of images, stamps and calibration."""
        for fault, count in self._faults.most_common():
            yield Finding(f"{count} of {len(self.stamps)} images cannot be used: {fault}", is_fatal=True)
        if self.stamps and not self.frame_id:
            yield Finding(
                "images have no frame_id: the driver must name the camera's optical frame", is_fatal=True
            )
        steps = np.diff(self.stamps)
        if len(steps) and np.any(steps <= 0):
            what = "are all 0" if not any(self.stamps) else "do not increase everywhere"
            share = f"({int(np.count_nonzero(steps <= 0))} of {len(steps)} steps)"
            yield Finding(
                f"stamps of images {what} {share}: the driver must stamp images when they are exposed",
                is_fatal=bool(np.mean(steps <= 0) > 0.5),
            )
        elif len(steps) and float(np.median(steps)) > 0.3 * NANOSECONDS:
            apart = f"images are {np.median(steps) / NANOSECONDS:.2f} s apart"
            yield Finding(f"{apart}: few tracks survive; run or record the camera at 5 Hz or more")
        elif len(steps) and int(steps.max()) > _GAP * NANOSECONDS:
            gap = f"stamps of images jump ahead by {steps.max() / NANOSECONDS:.1f} s"
            yield Finding(f"{gap}: the driver paused, or its clock was set meanwhile; start it afterwards")
        if self._repeats:
            repetition = f"{self._repeats} of {self._used} images repeat the pixels of the previous one"
            yield Finding(
                f"{repetition}: the driver sends images again", is_fatal=self._repeats > self._used / 2
            )
        for warning in self._warnings:
            yield Finding(warning)


def examine(bag: BagReader, base_frame: str) -> list[Finding]:
    """Return the problems of the camera of a recording, most urgent first.

    Args:
        bag: the recording; its first ten seconds are read.
        base_frame: frame of the robot, for the camera's extrinsics.

    Raises:
        DataError: the file is damaged.
    """
    examination = CameraExamination(bag.camera.image, bag.camera.image_kind, bag.config)
    intervals = StampIntervals()
    for image, info in bag.pairs(seconds=EXAMINED):
        examination.add(image, info)
        intervals.add(examination.stamps[-1])
    findings = list(examination.findings())
    if intervals.warning:
        findings.append(Finding(intervals.warning))
    infos, images = bag.topics[bag.camera.info].count, bag.image_count
    if infos < 0.7 * images:
        rate = f"camera_info on {bag.camera.info} has a lower rate than the images ({infos} for {images})"
        findings.append(Finding(f"{rate}: the last one is used; correct if the calibration is constant"))
    frame = examination.frame_id
    if frame:
        where = "no transform" if TF_STATIC in bag.topics else f"no {TF_STATIC}"
        extrinsics = StaticTransforms.read(bag).find(base_frame, frame)
        findings += extrinsics_findings(extrinsics, where, base_frame, frame)
    return by_urgency(findings)


def by_urgency(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, those that make images unusable first, otherwise in their order."""
    return sorted(findings, key=lambda finding: not finding.is_fatal)


def extrinsics_findings(
    T_base_camera: Pose | None, missing: str, base_frame: str, camera_frame: str
) -> Iterator[Finding]:
    """Yield the problems of the camera's extrinsics; ``missing`` says what there is instead of them."""
    if T_base_camera is None:
        yield Finding(
            f"{missing} from {base_frame} to {camera_frame}: the node needs the camera's extrinsics: "
            f"ros2 run tf2_ros static_transform_publisher --frame-id {base_frame} --child-frame-id "
            f"{camera_frame} --x ... --yaw ..., or assume_identity_mount:=true"
        )
    elif warning := optical_frame_warning(camera_frame, base_frame, T_base_camera):
        yield Finding(warning)

"""Offline run of the node's pipeline on every image of a recording, without ROS; reproducible."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.errors import CalibrationError, DataError, ImageError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.evaluation.runs.run_record import (
    EdgeRecord,
    FrameRecord,
    RunRecord,
    StampedPose,
    from_origin,
)
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.odometry import OdometryUpdate
from iup_pose_ros.odometry.sensor_histories import SensorHistories
from iup_pose_ros.replay.bag_sensors import RecordedMounts, SensorFeed, camera_mount, sensors_first
from iup_pose_ros.stamps import CLOCK_JUMP, StampIntervals

_DEFAULT_CONFIG = NodeConfig()
_NO_TOPICS: Mapping[str, str] = {}


def run_offline(
    bag: BagReader,
    estimator: RelativePoseEstimator,
    progress: Callable[[], None],
    config: NodeConfig = _DEFAULT_CONFIG,
    topics: Mapping[str, str] = _NO_TOPICS,
) -> RunRecord:
    """Process every image of a recording as the node does.

    Args:
        bag: the recording.
        estimator: relative pose of two frames.
        progress: called after every image.
        config: settings of the node; those of subscriptions and publishers have no effect.
        topics: topics of the sensors that the settings use (``sensor_topics``).

    Raises:
        DataError: the recording is damaged, lacks what the settings require, or none of its images is usable.
    """
    # 1. Settings that follow from the recording, as in the live run.
    mount = camera_mount(bag, config)
    is_compressed = bag.camera.image_kind == messages.COMPRESSED_IMAGE
    transport = "compressed" if is_compressed else "raw"
    config = replace(config, image_transport=transport, assume_identity_mount=mount is None)
    # 2. The pipeline, with what the node takes from other sensors.
    mounts = RecordedMounts(bag, config.base_frame, config.assume_identity_mount)
    histories = SensorHistories.required(config.odometry.scale_source, config.motion_prior)
    feed = SensorFeed(bag, topics, histories, config.base_frame)
    masks = bag.masks(0.0 if config.mask_policy == "synchronised" else config.mask_timeout)
    pipeline = FramePipeline(estimator, config, mounts, histories, bag.camera.image)
    run = _Run(pipeline, mount or Pose.identity())
    # 3. All messages: each image with the last camera_info, images before the first one with the first.
    info = next(bag.decoded(bag.camera.info), None)
    if info is None:
        raise DataError(f"bag {bag.path} holds zero messages on {bag.camera.info}")
    camera = (bag.camera.image, bag.camera.info)
    sensors = [topic for name, topic in topics.items() if name != "mask"]
    for message in sensors_first(bag.messages([*camera, *sensors]), camera):
        if message.topic == bag.camera.info:
            info = bag.deserialized(message, messages.CAMERA_INFO)
        elif message.topic == bag.camera.image:
            image = bag.deserialized(message, bag.camera.image_kind)
            stamp = messages.stamp_of(image)
            if run.ends_before(stamp * 1e-9):
                break
            run.process(image, info, masks.image(stamp))
            progress()
        else:
            run.warn(feed.add(message))
    run.check_usable(f"bag {bag.path}", bag.image_count)
    return run.record(estimator.name)


class _Run:
    """Results of a run, without the images.

    Args:
        pipeline: processes the images.
        T_base_camera: extrinsics of the camera.
    """

    def __init__(self, pipeline: FramePipeline, T_base_camera: Pose) -> None:
        self._pipeline = pipeline
        self._T_base_camera = T_base_camera
        self.stamps: list[float] = []
        self.frames: list[FrameRecord] = []
        self.refused = 0
        self.repeated = 0
        self._poses: list[StampedPose] = []
        self._edges: list[EdgeRecord] = []
        self._fault = ""
        self._warnings: dict[str, str] = {}
        self._intervals = StampIntervals()

    @property
    def notes(self) -> list[str]:
        """Warnings, also about images that were not processed, one sentence each."""
        notes = []
        if self.refused:
            notes.append(f"{self.refused} of {len(self.stamps)} images were dropped, the last: {self._fault}")
        if self.repeated:
            notes.append(
                f"{self.repeated} of {len(self.stamps)} images repeat the pixels of the previous one, "
                "ignored: the driver sends images again"
            )
        return [*notes, *self._warnings.values(), *filter(None, [self._intervals.warning])]

    def check_usable(self, source: str, images: int) -> None:
        """Raise DataError if fewer than two of the images of a bag are usable, which show no motion."""
        if len(self.frames) < min(2, images):
            raise DataError(
                f"{source}: {len(self.frames)} of {images} images are usable: {'; '.join(self.notes)}"
            )

    def record(self, estimator: str) -> RunRecord:
        """Return the run as motion of the camera."""
        return RunRecord(
            mode="offline",
            estimator=estimator,
            image_stamps=np.sort(self.stamps),
            frames=self.frames,
            poses=from_origin(self._poses, self._edges, self._T_base_camera),
            edges=self._edges,
            counters={
                "frames_received": len(self.stamps),
                "frames_dropped_invalid": self.refused + self.repeated,
            },
            notes=self.notes,
        )

    def ends_before(self, stamp: float) -> bool:
        """Return whether the clock was set back before the image at ``stamp``, which ends the trajectory."""
        back = self.frames[-1].stamp - stamp if self._poses else 0.0
        if back <= CLOCK_JUMP:
            return False
        self.warn(
            f"the stamps jump back by {back:.1f} s after {len(self.stamps)} images; the following images are "
            "left out, since a trajectory has increasing stamps"
        )
        return True

    def process(self, image: Any, info: Any, mask: Any) -> None:
        """Process an image and record its update; as in the node, an unusable image is only counted."""
        start = time.perf_counter()
        self.stamps.append(messages.stamp_of(image) * 1e-9)
        self._intervals.add(messages.stamp_of(image))
        try:
            update = self._pipeline.process(image, info, mask).update
        except (ImageError, CalibrationError) as error:
            self.refused, self._fault = self.refused + 1, str(error)
        else:
            self.take(update, self.stamps[-1], time.perf_counter() - start)
        self.warn(*self._pipeline.warnings)

    def take(self, update: OdometryUpdate, stamp: float, seconds: float) -> None:
        """Record the update of the image at ``stamp``, seconds."""
        if update.refused:
            self.refused, self._fault = self.refused + 1, update.reason
            return
        if update.repeated:
            self.repeated += 1
            return
        self.frames.append(FrameRecord(stamp, update.state, update.reason, seconds))
        if update.pose is not None:
            T_odom_camera = update.pose @ PoseWithCovariance.exact(self._T_base_camera)
            self._poses.append(StampedPose(stamp, T_odom_camera))
        if update.edge is not None:
            edge, clock = update.edge, self._pipeline.clock
            self._edges.append(
                EdgeRecord(
                    clock.nanoseconds(edge.previous_stamp) * 1e-9,
                    clock.nanoseconds(edge.current_stamp) * 1e-9,
                    edge.camera,
                    edge.metric,
                    edge.inference_time,
                    edge.inlier_probability,
                    edge.scale_source,
                )
            )

    def warn(self, *warnings: str) -> None:
        """Add warnings; of those that differ only in their numbers, the first one."""
        for warning in warnings:
            if warning:
                self._warnings.setdefault(re.sub(r"\d", "", warning), warning)

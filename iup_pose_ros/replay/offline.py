"""Offline run of the odometry on every image of a recording, without ROS; reproducible."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.errors import DataError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.evaluation.runs.run_record import (
    EdgeRecord,
    FrameRecord,
    RunRecord,
    StampedPose,
    from_origin,
)
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import OdometryUpdate, VisualOdometry


def run_offline(bag: BagReader, estimator: RelativePoseEstimator, progress: Callable[[], None]) -> RunRecord:
    """Process every image of a recording with the node's default settings.

    Args:
        bag: the recording.
        estimator: relative pose of two frames.
        progress: called after every image.

    Raises:
        DataError: the recording is damaged, or none of its images is usable.
    """
    odometry = VisualOdometry(estimator)
    run = _Run()
    for frame in bag.frames(on_bad_image=lambda stamp, fault: run.refuse(stamp * 1e-9, str(fault))):
        start = time.perf_counter()
        update = odometry.process(frame)
        if update.refused:
            run.refuse(frame.stamp, update.reason)
        elif update.repeated:
            run.repeat(frame.stamp)
        else:
            run.take(update, time.perf_counter() - start)
        progress()
    # A single image, for example the first of those without stamps, shows no motion.
    if len(run.frames) < 2 and (run.refused or run.repeated):
        raise DataError(
            f"bag {bag.path}: {len(run.frames)} of {len(run.stamps)} images are usable: "
            f"{'; '.join(run.notes)}"
        )
    return RunRecord(
        mode="offline",
        estimator=estimator.name,
        image_stamps=np.sort(run.stamps),
        frames=run.frames,
        poses=from_origin(run.poses, run.edges, Pose.identity()),
        edges=run.edges,
        counters={
            "frames_received": len(run.stamps),
            "frames_dropped_invalid": run.refused + run.repeated,
        },
        notes=run.notes,
    )


class _Run:
    """Results of a run, without the images."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.frames: list[FrameRecord] = []
        self.poses: list[StampedPose] = []
        self.edges: list[EdgeRecord] = []
        self.refused = 0
        self.repeated = 0
        self._fault = ""

    @property
    def notes(self) -> list[str]:
        """Warnings about images that were not processed, one sentence each."""
        notes = []
        if self.refused:
            notes.append(f"{self.refused} of {len(self.stamps)} images were dropped, the last: {self._fault}")
        if self.repeated:
            notes.append(
                f"{self.repeated} of {len(self.stamps)} images repeat the pixels of the previous one, "
                "ignored: the driver sends images again"
            )
        return notes

    def take(self, update: OdometryUpdate, seconds: float) -> None:
        """Record the update of a processed image."""
        self.stamps.append(update.stamp)
        self.frames.append(FrameRecord(update.stamp, update.state, update.reason, seconds))
        if update.pose is not None:
            self.poses.append(StampedPose(update.stamp, update.pose))
        if update.edge is not None:
            edge = update.edge
            self.edges.append(
                EdgeRecord(
                    edge.previous_stamp,
                    edge.current_stamp,
                    edge.camera,
                    edge.metric,
                    edge.inference_time,
                    edge.inlier_probability,
                )
            )

    def refuse(self, stamp: float, fault: str) -> None:
        """Count an unusable image; as in the node, processing continues."""
        self.stamps.append(stamp)
        self.refused += 1
        self._fault = fault

    def repeat(self, stamp: float) -> None:
        """Count an image that repeats the previous one."""
        self.stamps.append(stamp)
        self.repeated += 1

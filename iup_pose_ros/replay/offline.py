"""The node's odometry on every image of a recording, without ROS: nothing is dropped, two runs agree."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.evaluation.run_record import EdgeRecord, FrameRecord, RunRecord, StampedPose, from_origin
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import KeyframeEdge, OdometryUpdate, VisualOdometry


def run_offline(bag: BagReader, estimator: str, progress: Callable[[], None]) -> RunRecord:
    """Process every image of a recording with the settings the node has by default.

    Args:
        bag: the recording.
        estimator: name of the estimator.
        progress: called after every image.

    Raises:
        ConfigurationError: unknown estimator.
        DataError, ImageError, CalibrationError: the recording is of no use from some image on.
    """
    odometry = VisualOdometry(create_estimator(estimator))
    updates: list[OdometryUpdate] = []
    times: list[float] = []
    for frame in bag.frames():
        start = time.perf_counter()
        updates.append(odometry.process(frame))
        times.append(time.perf_counter() - start)
        progress()
    poses = [StampedPose(update.stamp, update.pose) for update in updates if update.pose is not None]
    edges = [_edge(update.edge) for update in updates if update.edge is not None]
    return RunRecord(
        mode="offline",
        estimator=estimator,
        image_stamps=np.array([update.stamp for update in updates]),
        frames=[
            FrameRecord(update.stamp, update.state, update.reason, seconds)
            for update, seconds in zip(updates, times, strict=True)
        ],
        poses=from_origin(poses, edges, Pose.identity()),
        edges=edges,
        counters={"frames_received": len(updates), "frames_dropped_invalid": odometry.refused_frames},
    )


def _edge(edge: KeyframeEdge) -> EdgeRecord:
    return EdgeRecord(edge.previous_stamp, edge.current_stamp, edge.camera, edge.metric, edge.inference_time)

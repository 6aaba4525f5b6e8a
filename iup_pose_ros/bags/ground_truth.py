"""Ground truth of the camera's trajectory: from a TUM or KITTI file, or from a topic of the recording."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC, StaticTransforms
from iup_pose_ros.bags.trajectory_io import is_kitti, read_kitti, read_tum_and_repeats
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.message_poses import QUATERNION_TOLERANCE, frame_name


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth of the camera.

    Attributes:
        trajectory: ``T_world_camera`` of the optical frame.
        reordered: the same with quaternions read as (w, x, y, z), to detect files in that order; None if the
            order is certain.
        note: assumptions and omissions; empty if none.
    """

    trajectory: Trajectory
    reordered: Trajectory | None = None
    note: str = ""


# Types of topics that can be read as ground truth.
TOPIC_KINDS = (
    "nav_msgs/msg/Odometry",
    messages.POSE_STAMPED,
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
    messages.TF_MESSAGE,
)


class _Poses:
    """Poses of one frame in compact arrays, because topics with ground truth are long and dense."""

    def __init__(self) -> None:
        self._stamps = array("q")
        self._values = array("d")

    def add(self, stamp: int, position: Any, orientation: Any) -> None:
        """Append a pose at ``stamp`` nanoseconds."""
        self._stamps.append(stamp)
        self._values.extend((position.x, position.y, position.z))
        self._values.extend((orientation.x, orientation.y, orientation.z, orientation.w))

    def trajectory(self) -> Trajectory:
        """Return all poses ordered by time; of several with the same stamp the first.

        Raises:
            DataError: a quaternion is not of unit length, or a value is not finite.
        """
        stamps, first = np.unique(np.frombuffer(self._stamps, dtype=np.int64), return_index=True)
        values = np.frombuffer(self._values, dtype=np.float64).reshape(-1, 7)[first]
        lengths = np.linalg.norm(values[:, 3:], axis=1)
        good = np.isfinite(values).all(axis=1) & (np.abs(lengths - 1.0) <= QUATERNION_TOLERANCE)
        if not good.all():
            index = int(good.argmin())
            raise DataError(
                f"pose at {stamps[index]} ns has position {values[index, :3].tolist()} and quaternion "
                f"{values[index, 3:].tolist()} of length {lengths[index]:.4f}; finite numbers and a "
                "quaternion (x, y, z, w) of length 1 are required"
            )
        rotations = Rotation.from_quat(values[:, 3:]).as_matrix()
        return Trajectory(np.asarray(stamps * 1e-9, dtype=np.float64), rotations, values[:, :3].copy())


def read_ground_truth_file(path: Path, bag: BagReader, frame: str | None = None) -> GroundTruth:
    """Read the ground truth from a TUM or KITTI file, distinguished by the number of columns.

    Args:
        path: the file.
        bag: the recording that it belongs to.
        frame: frame of the poses; None: the camera.

    Raises:
        DataError: the file is malformed, does not overlap the recording in time, or the recording has no
            transform from ``frame`` to the camera.
    """
    T_frame_camera = _extrinsics(bag, frame) if frame is not None else None
    if is_kitti(path):
        stamps = [stamp * 1e-9 for stamp in bag.image_stamps()]
        return GroundTruth(_moved(read_kitti(path, stamps), T_frame_camera))
    trajectory, repeats = read_tum_and_repeats(path)
    _check_overlap(trajectory, bag, str(path))
    return GroundTruth(
        _moved(trajectory, T_frame_camera),
        _moved(trajectory.with_quaternions_reordered(), T_frame_camera),
        f"{repeats} poses of {path.name} repeat the previous stamp and were omitted" if repeats else "",
    )


def read_ground_truth_topic(topic: str, bag: BagReader, frame: str | None = None) -> GroundTruth:
    """Read the ground truth from a topic of the recording.

    Args:
        topic: topic of a type in ``TOPIC_KINDS``.
        bag: the recording.
        frame: frame of the poses. None: the child frame in the messages, or the camera for messages without
            one, such as PoseStamped.

    Raises:
        DataError: the topic does not exist, has another type or no poses; it holds transforms of several
            frames and none is chosen; it does not overlap the images in time; there is no transform from
            ``frame`` to the camera.
    """
    by_frame = _poses_by_frame(topic, bag)
    if len(by_frame) == 1:
        body = next(iter(by_frame))
    elif frame is not None and frame_name(frame) in by_frame:
        body = frame_name(frame)
    else:
        # Only transform topics can hold several frames.
        raise DataError(
            f"topic {topic} holds {len(by_frame)} moving frames; choose the ground truth "
            f"(--gt-frame): {', '.join(sorted(by_frame))}"
        )
    poses = by_frame[body]
    try:
        trajectory = poses.trajectory()
    except DataError as error:
        raise DataError(f"bag {bag.path}, {topic}: {error}") from error
    _check_overlap(trajectory, bag, f"topic {topic}")
    if frame is not None:
        return GroundTruth(_moved(trajectory, _extrinsics(bag, frame)))
    if not body or body == bag.camera_frame:
        return GroundTruth(trajectory)
    T_body_camera = StaticTransforms.read(bag).find(body, bag.camera_frame)
    note = f"no /tf_static from {body} to {bag.camera_frame}: ground-truth poses assumed to be the camera's"
    return GroundTruth(_moved(trajectory, T_body_camera), note="" if T_body_camera is not None else note)


def ground_truth_topics(bag: BagReader) -> list[str]:
    """Return the topics of the recording that could be ground truth."""
    return [
        topic
        for topic, summary in bag.topics.items()
        if summary.kind in TOPIC_KINDS and summary.count and topic != TF_STATIC
    ]


def _poses_by_frame(topic: str, bag: BagReader) -> dict[str, _Poses]:
    """Return the poses on a topic by moving frame; the name is empty if the messages have none."""
    summary = bag.topics.get(topic)
    candidates = ", ".join(ground_truth_topics(bag)) or "none"
    if summary is None:
        raise DataError(
            f"bag {bag.path} has no topic {topic}; topics that could be ground truth: {candidates}"
        )
    if summary.kind not in TOPIC_KINDS:
        accepted = ", ".join(TOPIC_KINDS)
        raise DataError(
            f"topic {topic} is of type {summary.kind}; ground truth is one of {accepted}; "
            f"topics that could be it: {candidates}"
        )
    if summary.count == 0:
        raise DataError(f"topic {topic} holds zero messages; topics that could be ground truth: {candidates}")
    poses: dict[str, _Poses] = {}
    for message in bag.decoded(topic):
        for stamp, child, position, orientation in _entries(message, summary.kind):
            poses.setdefault(frame_name(child), _Poses()).add(stamp, position, orientation)
    if not poses:
        raise DataError(f"bag {bag.path}: topic {topic} holds no pose")
    return poses


def _entries(message: Any, kind: str) -> Iterator[tuple[int, str, Any, Any]]:
    """Yield stamp, moving frame, position and orientation of every pose in a message of TOPIC_KINDS."""
    if kind == messages.TF_MESSAGE:
        for transform in message.transforms:
            yield from _entries(transform, "geometry_msgs/msg/TransformStamped")
    elif kind == "geometry_msgs/msg/TransformStamped":
        transform = message.transform
        yield (
            messages.stamp_of(message),
            message.child_frame_id,
            transform.translation,
            transform.rotation,
        )
    else:
        pose = message.pose if kind == messages.POSE_STAMPED else message.pose.pose
        child = message.child_frame_id if kind == "nav_msgs/msg/Odometry" else ""
        yield messages.stamp_of(message), child, pose.position, pose.orientation


def _extrinsics(bag: BagReader, frame: str) -> Pose:
    """Return ``T_frame_camera`` from /tf_static."""
    if frame_name(frame) == bag.camera_frame:
        return Pose.identity()
    found = StaticTransforms.read(bag).find(frame, bag.camera_frame)
    if found is None:
        raise DataError(
            f"bag {bag.path} has no transform on /tf_static between {frame} and the camera "
            f"{bag.camera_frame}; its frames are: {StaticTransforms.read(bag).names or 'none'}"
        )
    return found


def _moved(trajectory: Trajectory, T_body_camera: Pose | None) -> Trajectory:
    """Return the trajectory of the camera, given that of the body."""
    if T_body_camera is None:
        return trajectory
    positions = trajectory.rotations @ T_body_camera.translation + trajectory.positions
    return Trajectory(trajectory.stamps, trajectory.rotations @ T_body_camera.rotation, positions)


def _check_overlap(trajectory: Trajectory, bag: BagReader, source: str) -> None:
    """Raise DataError unless the ground truth overlaps the images in time."""
    begin = next(bag.image_stamps()) * 1e-9
    end = begin + bag.duration
    first, last = float(trajectory.stamps[0]), float(trajectory.stamps[-1])
    if last < begin or first > end:
        raise DataError(
            f"the ground truth of {source} ({first:.3f} to {last:.3f} s) does not overlap the images "
            f"({begin:.3f} to {end:.3f} s) in time"
        )

"""The camera's true path: from a TUM or KITTI file, or from a topic of the recording."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.static_transforms import TF_STATIC, StaticTransforms
from iup_pose_ros.bags.trajectory_io import is_kitti, read_kitti, read_tum_and_repeats
from iup_pose_ros.camera_frames import frame_name
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory
from iup_pose_ros.message_poses import QUATERNION_TOLERANCE


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Where the camera truly was.

    Attributes:
        trajectory: ``T_world_camera`` of the optical frame.
        reordered: the same with quaternions taken as (w, x, y, z), to tell whether the file means that; None
            where their order is beyond doubt.
        note: what had to be assumed or left out; empty where nothing.
    """

    trajectory: Trajectory
    reordered: Trajectory | None = None
    note: str = ""


class _Poses:
    """Poses of one frame as they come, in little memory: topics with ground truth are long and dense."""

    def __init__(self) -> None:
        self._stamps = array("q")
        self._values = array("d")

    def add(self, stamp: int, position: Any, orientation: Any) -> None:
        """A pose at ``stamp`` nanoseconds."""
        self._stamps.append(stamp)
        self._values.extend((position.x, position.y, position.z))
        self._values.extend((orientation.x, orientation.y, orientation.z, orientation.w))

    def trajectory(self) -> Trajectory:
        """All of them in order of time; of several at one time the first.

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
                "quaternion (x, y, z, w) of length 1 are needed"
            )
        rotations = Rotation.from_quat(values[:, 3:]).as_matrix()
        return Trajectory(np.asarray(stamps * 1e-9, dtype=np.float64), rotations, values[:, :3].copy())


def read_ground_truth_file(path: Path, bag: BagReader, frame: str | None = None) -> GroundTruth:
    """The ground truth in a TUM or KITTI file; which of the two is told by the columns.

    Args:
        path: the file.
        bag: the recording that it belongs to.
        frame: whose poses these are; the camera's own where None.

    Raises:
        DataError: the file is malformed, does not overlap the recording in time, or the recording does not
            say how the camera sits on ``frame``.
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
        f"{repeats} poses of {path.name} repeat the stamp before and were left out" if repeats else "",
    )


def read_ground_truth_topic(topic: str, bag: BagReader, frame: str | None = None) -> GroundTruth:
    """The ground truth on a topic of the recording.

    Args:
        topic: of a type in ``TOPIC_KINDS``.
        bag: the recording.
        frame: whose poses these are. None: the child frame that the messages name; where they name none, as
            PoseStamped, the camera's own.

    Raises:
        DataError: there is no such topic, or of another type or without poses; a transform topic holds
            several frames and none is chosen; no overlap with the images in time; no transform from
            ``frame`` to the camera.
    """
    body, poses = _of_one_frame(_poses_by_frame(topic, bag), topic, frame)
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
    note = f"no /tf_static from {body} to {bag.camera_frame}: the ground truth is taken for the camera's own"
    return GroundTruth(_moved(trajectory, T_body_camera), note="" if T_body_camera is not None else note)


def ground_truth_topics(bag: BagReader) -> list[str]:
    """Topics of the recording that could be ground truth."""
    return [
        topic
        for topic, summary in bag.topics.items()
        if summary.kind in TOPIC_KINDS and summary.count and topic != TF_STATIC
    ]


def _kind(topic: str, bag: BagReader) -> str:
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
    return summary.kind


def _poses_by_frame(topic: str, bag: BagReader) -> dict[str, _Poses]:
    """Poses on a topic by the frame that moves; without a name where the messages give none."""
    read = TOPIC_KINDS[_kind(topic, bag)]
    poses: dict[str, _Poses] = {}
    for message in bag.decoded(topic):
        for stamp, child, position, orientation in read(message):
            poses.setdefault(frame_name(child), _Poses()).add(stamp, position, orientation)
    if not poses:
        raise DataError(f"bag {bag.path}: topic {topic} holds no pose")
    return poses


def _of_one_frame(poses: dict[str, _Poses], topic: str, frame: str | None) -> tuple[str, _Poses]:
    """The frame that is meant and its poses; only transforms can speak of several."""
    if len(poses) == 1:
        return next(iter(poses.items()))
    frame = None if frame is None else frame_name(frame)
    if frame is None or frame not in poses:
        raise DataError(
            f"topic {topic} holds {len(poses)} moving frames, name the one that is ground truth "
            f"(--gt-frame): {', '.join(sorted(poses))}"
        )
    return frame, poses[frame]


def _extrinsics(bag: BagReader, frame: str) -> Pose:
    """``T_frame_camera`` of a frame that the caller has named."""
    if frame_name(frame) == bag.camera_frame:
        return Pose.identity()
    found = StaticTransforms.read(bag).find(frame, bag.camera_frame)
    if found is None:
        raise DataError(
            f"bag {bag.path} has no transform on /tf_static between {frame} and the camera "
            f"{bag.camera_frame}; frames there: {StaticTransforms.read(bag).names or 'none'}"
        )
    return found


def _moved(trajectory: Trajectory, T_body_camera: Pose | None) -> Trajectory:
    """The path of the camera that sits on the body."""
    if T_body_camera is None:
        return trajectory
    positions = trajectory.rotations @ T_body_camera.translation + trajectory.positions
    return Trajectory(trajectory.stamps, trajectory.rotations @ T_body_camera.rotation, positions)


def _check_overlap(trajectory: Trajectory, bag: BagReader, source: str) -> None:
    """Refuses ground truth of another time before an estimator has worked for nothing."""
    begin = next(bag.image_stamps()) * 1e-9
    end = begin + bag.duration
    first, last = float(trajectory.stamps[0]), float(trajectory.stamps[-1])
    if last < begin or first > end:
        raise DataError(
            f"the ground truth of {source} ({first:.3f} to {last:.3f} s) does not overlap the images "
            f"({begin:.3f} to {end:.3f} s) in time"
        )


# Stamp, moving frame, position and orientation.
_Entry = tuple[int, str, Any, Any]


def _odometry(message: Any) -> Iterator[_Entry]:
    pose = message.pose.pose
    yield messages.stamp_of(message), message.child_frame_id, pose.position, pose.orientation


def _pose_stamped(message: Any) -> Iterator[_Entry]:
    yield messages.stamp_of(message), "", message.pose.position, message.pose.orientation


def _pose_with_covariance(message: Any) -> Iterator[_Entry]:
    pose = message.pose.pose
    yield messages.stamp_of(message), "", pose.position, pose.orientation


def _transform(message: Any) -> Iterator[_Entry]:
    value = message.transform
    yield messages.stamp_of(message), message.child_frame_id, value.translation, value.rotation


def _transforms(message: Any) -> Iterator[_Entry]:
    for transform in message.transforms:
        yield from _transform(transform)


# How the poses of every accepted type are read.
TOPIC_KINDS: dict[str, Callable[[Any], Iterator[_Entry]]] = {
    "nav_msgs/msg/Odometry": _odometry,
    messages.POSE_STAMPED: _pose_stamped,
    "geometry_msgs/msg/PoseWithCovarianceStamped": _pose_with_covariance,
    "geometry_msgs/msg/TransformStamped": _transform,
    messages.TF_MESSAGE: _transforms,
}

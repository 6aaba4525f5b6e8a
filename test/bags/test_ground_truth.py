"""Ground truth from files and topics becomes the camera's own path, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.ground_truth import (
    TOPIC_KINDS,
    ground_truth_topics,
    read_ground_truth_file,
    read_ground_truth_topic,
)
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import write_tum
from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.trajectory import Trajectory

COUNT = 5
T_BODY_CAMERA = Pose(so3.exp(np.array([0.3, -0.9, 0.4])), np.array([0.3, -0.1, 0.2]))


def body_pose(index: int) -> Pose:
    return Pose(so3.exp(np.array([0.1, 0.05 * index, 0.0])), np.array([1.0 * index, 0.5, -0.2]))


def transform(pose: Pose, stamp: int, child: str) -> Any:
    """geometry_msgs/TransformStamped in frame "world"."""
    (made,) = messages.extrinsics_message(pose, "world", child, stamp).transforms
    return made


def truth_message(kind: str, index: int, stamp: int) -> Any:
    """A message with the body's pose number ``index``; its frame is "body" where the type names one."""
    types, pose = messages.typestore().types, body_pose(index)
    stamped = messages.pose_message(pose, stamp, "world")
    with_covariance = types["geometry_msgs/msg/PoseWithCovariance"](
        pose=stamped.pose, covariance=np.zeros(36)
    )
    if kind == "nav_msgs/msg/Odometry":
        zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        twist = types["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
        twist = types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36))
        return types[kind](header=stamped.header, child_frame_id="body", pose=with_covariance, twist=twist)
    if kind == "geometry_msgs/msg/PoseWithCovarianceStamped":
        return types[kind](header=stamped.header, pose=with_covariance)
    if kind == "geometry_msgs/msg/TransformStamped":
        return transform(pose, stamp, "body")
    if kind == messages.TF_MESSAGE:
        return types[kind](transforms=[transform(pose, stamp, "body")])
    return stamped


@pytest.fixture
def make_recording(tmp_path: Path, sample: Any) -> Callable[..., Path]:
    """A bag with images, the extrinsics body -> camera, and whatever is given by topic."""

    def make(topics: dict[str, tuple[str, list[Any]]], with_mount: bool = True) -> Path:
        path = tmp_path / "recording"
        images = [messages.image_message(sample.picture(i), sample.stamp(i), "camera") for i in range(COUNT)]
        infos = [
            messages.camera_info_message(sample.calibration, sample.stamp(i), "camera") for i in range(COUNT)
        ]
        everything = {"/image": (messages.IMAGE, images), "/camera_info": (messages.CAMERA_INFO, infos)}
        if with_mount:
            extrinsics = messages.extrinsics_message(T_BODY_CAMERA, "body", "camera", sample.start)
            everything["/tf_static"] = (messages.TF_MESSAGE, [extrinsics])
        everything |= topics
        with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
            for topic, (kind, contents) in everything.items():
                connection = writer.add_connection(topic, kind, typestore=messages.typestore())
                for index, content in enumerate(contents):
                    writer.write(connection, sample.stamp(index), messages.serialize(content, kind))
        return path

    return make


def truth_topic(sample: Any, kind: str) -> dict[str, tuple[str, list[Any]]]:
    return {"/truth": (kind, [truth_message(kind, index, sample.stamp(index)) for index in range(COUNT)])}


def assert_is_path_of_camera(trajectory: Trajectory, T_body_camera: Pose) -> None:
    assert len(trajectory) == COUNT
    for index in range(COUNT):
        expected = body_pose(index) @ T_body_camera
        np.testing.assert_allclose(trajectory.pose(index).matrix, expected.matrix, atol=1e-9)


@pytest.mark.parametrize("kind", TOPIC_KINDS)
def test_topic_of_a_body_gives_the_path_of_its_camera(
    kind: str, make_recording: Callable[..., Path], sample: Any
) -> None:
    with BagReader(make_recording(truth_topic(sample, kind))) as bag:
        truth = read_ground_truth_topic("/truth", bag, "body")
        unnamed = read_ground_truth_topic("/truth", bag)
        assert ground_truth_topics(bag) == ["/truth"]
    assert_is_path_of_camera(truth.trajectory, T_BODY_CAMERA)
    np.testing.assert_allclose(
        truth.trajectory.stamps, [sample.stamp(i) * 1e-9 for i in range(COUNT)], atol=1e-9
    )
    assert truth.reordered is None
    # Messages that name their frame need no help; a pose without one is the camera's own.
    names_frame = not kind.startswith("geometry_msgs/msg/Pose")
    assert_is_path_of_camera(unnamed.trajectory, T_BODY_CAMERA if names_frame else Pose.identity())


def test_body_without_a_mount_is_taken_for_the_camera_and_said(
    make_recording: Callable[..., Path], sample: Any
) -> None:
    path = make_recording(truth_topic(sample, "nav_msgs/msg/Odometry"), with_mount=False)
    with BagReader(path) as bag:
        truth = read_ground_truth_topic("/truth", bag)
        with pytest.raises(DataError, match="no transform on /tf_static between body and the camera camera"):
            read_ground_truth_topic("/truth", bag, "body")
    assert_is_path_of_camera(truth.trajectory, Pose.identity())
    assert "no /tf_static from body to camera" in truth.note


def test_of_several_moving_frames_one_must_be_named(make_recording: Callable[..., Path], sample: Any) -> None:
    both = messages.typestore().types[messages.TF_MESSAGE]
    contents = [
        both(
            transforms=[
                transform(body_pose(index), sample.stamp(index), "body"),
                transform(Pose.identity(), sample.stamp(index), "box"),
            ]
        )
        for index in range(COUNT)
    ]
    with BagReader(make_recording({"/tf": (messages.TF_MESSAGE, contents)})) as bag:
        with pytest.raises(DataError, match=r"2 moving frames; choose the ground truth .*: body, box"):
            read_ground_truth_topic("/tf", bag)
        truth = read_ground_truth_topic("/tf", bag, "body")
    assert_is_path_of_camera(truth.trajectory, T_BODY_CAMERA)


def test_topics_that_are_no_ground_truth_are_named(make_recording: Callable[..., Path], sample: Any) -> None:
    topics = truth_topic(sample, messages.POSE_STAMPED) | {"/empty": (messages.POSE_STAMPED, [])}
    with BagReader(make_recording(topics)) as bag:
        with pytest.raises(DataError, match="no topic /gt; topics that could be ground truth: /truth"):
            read_ground_truth_topic("/gt", bag)
        with pytest.raises(DataError, match="topic /image is of type sensor_msgs/msg/Image; ground truth is"):
            read_ground_truth_topic("/image", bag)
        with pytest.raises(DataError, match="topic /empty holds zero messages"):
            read_ground_truth_topic("/empty", bag)


@pytest.mark.parametrize("value", [0.0, 0.9, np.nan])
def test_pose_without_a_unit_quaternion_is_refused(
    value: float, make_recording: Callable[..., Path], sample: Any
) -> None:
    topics = truth_topic(sample, messages.POSE_STAMPED)
    orientation = topics["/truth"][1][2].pose.orientation
    orientation.x = orientation.y = orientation.z = 0.0
    orientation.w = value
    with (
        BagReader(make_recording(topics)) as bag,
        pytest.raises(DataError, match=r"/truth: pose at .* of length .*; finite numbers"),
    ):
        read_ground_truth_topic("/truth", bag)


def test_file_in_tum_or_kitti_format_is_told_by_its_columns(
    make_recording: Callable[..., Path], sample: Any, tmp_path: Path
) -> None:
    stamps = [sample.stamp(index) * 1e-9 for index in range(COUNT)]
    write_tum(tmp_path / "truth.txt", Trajectory.from_poses(stamps, [body_pose(i) for i in range(COUNT)]))
    rows = [" ".join(map(str, body_pose(index).matrix[:3].ravel())) for index in range(COUNT)]
    (tmp_path / "poses.txt").write_text("\n".join(rows) + "\n")
    with BagReader(make_recording({})) as bag:
        tum = read_ground_truth_file(tmp_path / "truth.txt", bag, "body")
        kitti = read_ground_truth_file(tmp_path / "poses.txt", bag, "body")
        own = read_ground_truth_file(tmp_path / "poses.txt", bag)
    for truth in (tum, kitti):
        np.testing.assert_allclose(truth.trajectory.stamps, stamps, atol=1e-6)
        for index in range(COUNT):
            expected = (body_pose(index) @ T_BODY_CAMERA).matrix
            np.testing.assert_allclose(truth.trajectory.pose(index).matrix, expected, atol=1e-7)
    assert_is_path_of_camera(own.trajectory, Pose.identity())
    assert tum.reordered is not None
    assert kitti.reordered is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1 0\n" * 3, "has 3 poses for 5 images"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n" * 4 + "1 0 0 0 0 1 0 0 0 0 2 0\n", "line 5: R of .* is not a rotation"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n" * 4 + "1 0 0 0 0 1 0 0 0 0 -1 0\n", "line 5: R of .* is not a rotation"),
        ("1 0 0 0 0 1 0 0 0 0 1 nan\n" * 5, "not finite"),
        ("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0\n", "line 2: 3 columns; 12 are required"),
        ("1 0 0 0\n", "line 1: 4 columns; 8 are required: timestamp tx"),
        ("5 0 0 0 0 0 0 1\n6 0 0 0 0 0 0 1\n", r"\(5.000 to 6.000 s\) does not overlap the images \(1403"),
        ("1403715274.35 0 0 0 1 0 0 1\n", "quaternion of length 1.4142; unit quaternions in the order qx"),
    ],
)
def test_file_of_no_use_is_one_sentence(
    make_recording: Callable[..., Path], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "truth.txt").write_text(text)
    with BagReader(make_recording({})) as bag, pytest.raises(DataError, match=message):
        read_ground_truth_file(tmp_path / "truth.txt", bag)

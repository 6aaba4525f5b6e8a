from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.topics import SensorTopics
from iup_pose_ros.bags.writer import STORAGES, CameraExtrinsics, CameraNames, write_camera_bag
from iup_pose_ros.camera_config import CameraConfig
from iup_pose_ros.errors import DataError, ImageError
from iup_pose_ros.geometry.pose import Pose

MakeBag = Callable[..., Path]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("colour", [True, False])
def test_frames_read_back_as_written(sample: Any, make_bag: MakeBag, storage: str, colour: bool) -> None:
    with BagReader(make_bag(storage=storage, colour=colour)) as bag:
        frames = list(bag.frames())
        assert bag.image_count == len(frames) == 5
        assert bag.duration == pytest.approx(0.2)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, sample.picture(index, colour))
        assert frame.intrinsics == sample.calibration.intrinsics
        assert frame.stamp == pytest.approx((sample.stamp(index)) * 1e-9, abs=1e-6)
        assert frame.frame_id == "camera_optical"


@pytest.mark.parametrize("storage", STORAGES)
def test_raw_messages_come_in_pairs_at_their_recorded_times(
    sample: Any, make_bag: MakeBag, storage: str
) -> None:
    with BagReader(make_bag(storage=storage)) as bag:
        recorded = list(bag.camera_messages())
    assert [message.topic for message in recorded] == ["/camera/camera_info", "/camera/image"] * 5
    assert [message.time for message in recorded[::2]] == [sample.stamp(i) for i in range(5)]
    info = messages.deserialize(recorded[0].data, messages.CAMERA_INFO)
    assert messages.stamp_of(info) == sample.start
    np.testing.assert_allclose(info.k.reshape(3, 3), sample.calibration.intrinsics.matrix)
    np.testing.assert_allclose(info.p.reshape(3, 4)[:, :3], sample.calibration.intrinsics.matrix)


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_can_be_read_twice_and_from_its_single_file(make_bag: MakeBag, storage: str) -> None:
    path = make_bag(storage=storage)
    with BagReader(path) as bag:
        first, second = list(bag.camera_messages()), list(bag.camera_messages())
    assert [message.data for message in first] == [message.data for message in second]
    (file,) = (child for child in path.iterdir() if child.suffix in (".mcap", ".db3"))
    with BagReader(file) as bag:
        assert [message.data for message in bag.camera_messages()] == [message.data for message in first]


def test_distorted_camera_is_undistorted_by_frames(sample: Any, make_bag: MakeBag) -> None:
    calibration = CameraCalibration(sample.calibration.intrinsics, (-0.3, 0.05, 0.001, 0.0, 0.0))
    with BagReader(make_bag(calibration=calibration)) as bag:
        frame = next(bag.frames())
    assert frame.intrinsics != sample.calibration.intrinsics
    assert not np.array_equal(frame.image, sample.picture(0))


def test_mount_is_latched_on_tf_static(make_bag: MakeBag) -> None:
    T_base_camera = Pose.from_quaternion([0.5, -0.5, 0.5, -0.5], [0.1, 0.2, 0.3])
    with BagReader(make_bag(extrinsics=CameraExtrinsics(T_base_camera))) as bag:
        (recorded,) = bag.messages(["/tf_static"])
    transform = messages.deserialize(recorded.data, messages.TF_MESSAGE).transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("base_link", "camera_optical")
    value = transform.transform
    rotation, translation = value.rotation, value.translation
    read = Pose.from_quaternion(
        [rotation.x, rotation.y, rotation.z, rotation.w], [translation.x, translation.y, translation.z]
    )
    np.testing.assert_allclose(read.matrix, T_base_camera.matrix, atol=1e-12)


def test_topics_and_frame_can_be_named(make_bag: MakeBag) -> None:
    names = CameraNames("/left/image_raw", "/left/camera_info", "left_optical")
    with BagReader(make_bag(names=names)) as bag:
        assert (bag.camera.image, bag.camera.info) == ("/left/image_raw", "/left/camera_info")
        assert next(bag.frames()).frame_id == "left_optical"


def test_failed_writing_leaves_nothing_behind(sample: Any, tmp_path: Path) -> None:
    def write() -> None:
        with write_camera_bag(tmp_path / "bag", sample.calibration) as bag:
            bag.write_image(sample.start, sample.picture(0))
            bag.write_image(sample.start + 1, sample.picture(1)[:40])

    with pytest.raises(DataError, match="64x48"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_existing_bag_and_unknown_storage_are_refused(sample: Any, make_bag: MakeBag, tmp_path: Path) -> None:
    path = make_bag()
    with pytest.raises(DataError, match="exists already"), write_camera_bag(path, sample.calibration):
        pass
    with (
        pytest.raises(DataError, match="'rosbag1'; accepted are mcap, sqlite3"),
        write_camera_bag(tmp_path / "other", sample.calibration, storage="rosbag1"),
    ):
        pass


def test_images_that_are_not_uint8_are_refused(sample: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match="float32"),
        write_camera_bag(tmp_path / "bag", sample.calibration) as bag,
    ):
        bag.write_image(sample.start, np.zeros((48, 64), np.float32))


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
        (StoragePlugin.SQLITE3, CompressionMode.FILE),
        (StoragePlugin.MCAP, CompressionMode.MESSAGE),
        (StoragePlugin.MCAP, CompressionMode.STORAGE),
    ],
)
def test_compressed_bags_read_like_plain_ones(
    make_bag: MakeBag, tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    with BagReader(make_bag()) as bag:
        plain = list(bag.camera_messages())
        kinds = {topic: summary.kind for topic, summary in bag.topics.items()}
    writer = Writer(tmp_path / "compressed", version=8, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=messages.typestore())
            for topic, kind in kinds.items()
        }
        for message in plain:
            writer.write(connections[message.topic], message.time, message.data)
    with BagReader(tmp_path / "compressed") as bag:
        read = [(message.topic, message.time, message.data) for message in bag.camera_messages()]
    assert read == [(message.topic, message.time, message.data) for message in plain]
    if mode is CompressionMode.MESSAGE:
        (file,) = (child for child in (tmp_path / "compressed").iterdir() if child.suffix != ".yaml")
        with BagReader(file) as bag, pytest.raises(DataError, match="compressed; give the bag's folder"):
            list(bag.frames())


def test_images_recorded_as_rectified_are_not_undistorted_again(
    make_bag: Callable[..., Path], sample: Any
) -> None:
    distorted = CameraCalibration(sample.calibration.intrinsics, (-0.3, 0.1, 0.0, 0.0, 0.0))
    path = make_bag(calibration=distorted)
    with BagReader(path, config=CameraConfig(image_is_rectified=True)) as bag:
        rectified = next(bag.frames())
    np.testing.assert_array_equal(rectified.image, sample.picture(0))
    assert rectified.intrinsics == sample.calibration.intrinsics
    with BagReader(path) as bag:
        assert not np.array_equal(next(bag.frames()).image, sample.picture(0))


def test_masks_of_a_topic_go_with_the_images_that_follow_within_the_timeout(
    sample: Any, tmp_path: Path
) -> None:
    path = tmp_path / "masked"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:

        def write(topic: str, kind: str, stamp: int, message: Any) -> None:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=messages.typestore())
            writer.write(connections[topic], stamp, messages.serialize(message, kind))

        connections: dict[str, Any] = {}
        for index in range(6):
            stamp = sample.stamp(index)
            info = messages.camera_info_message(sample.calibration, stamp, "eye")
            write("/camera/camera_info", messages.CAMERA_INFO, stamp, info)
            image = messages.image_message(sample.picture(index), stamp, "eye")
            write("/camera/image", messages.IMAGE, stamp, image)
            mask = np.zeros((48, 64), np.uint8)
            mask[:, :index] = 1
            if index in (1, 2):
                # A segmentation takes longer than the camera: its masks are recorded after their images.
                write("/camera/mask", messages.IMAGE, stamp + 1, messages.image_message(mask, stamp, "eye"))
    with BagReader(path, config=CameraConfig(mask_timeout=0.1), sensors=SensorTopics("/camera/mask")) as bag:
        shares = [frame.masked_share for frame in bag.frames()]
    # The second mask is 100 ms old at image 4 and 150 ms at image 5.
    np.testing.assert_allclose(shares, [0.0, 1 / 64, 2 / 64, 2 / 64, 2 / 64, 0.0])


def test_a_mask_topic_that_is_missing_or_of_another_type_is_refused(make_bag: MakeBag) -> None:
    path = make_bag()
    for topic, words in (("/nothing", "no topic /nothing"), ("/camera/camera_info", "Image is required")):
        with pytest.raises(DataError, match=words):
            BagReader(path, sensors=SensorTopics(topic))

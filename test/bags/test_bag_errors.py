from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.writer import STORAGES
from iup_pose_ros.errors import DataError

MakeBag = Callable[..., Path]


@pytest.fixture
def image(sample: Any) -> bytes:
    return messages.serialize(messages.image_message(sample.picture(0), 1, "camera"), messages.IMAGE)


@pytest.fixture
def info(sample: Any) -> bytes:
    message = messages.camera_info_message(sample.calibration, 1, "camera")
    return messages.serialize(message, messages.CAMERA_INFO)


def bag_of(path: Path, topics: dict[str, tuple[str, list[bytes]]]) -> Path:
    """A bag with the given serialised messages by topic."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, (kind, contents) in topics.items():
            connection = writer.add_connection(topic, kind, typestore=messages.typestore())
            for index, content in enumerate(contents):
                writer.write(connection, 1 + index, content)
    return path


def test_missing_and_foreign_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        BagReader(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no metadata.yaml"):
        BagReader(tmp_path / "empty")
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(DataError, match=r"is a ROS 1 bag; convert it to rosbag2: `rosbags-convert"):
        BagReader(tmp_path / "old.bag")
    (tmp_path / "bag.mcap.zstd").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(DataError, match="the recording's folder, also if its files are compressed"):
        BagReader(tmp_path / "bag.mcap.zstd")


def test_a_recording_that_was_interrupted_is_named_with_the_remedy(make_bag: MakeBag) -> None:
    path = make_bag()
    (path / "bag.mcap").write_bytes((path / "bag.mcap").read_bytes()[:2000])
    for given in (path, path / "bag.mcap"):
        with pytest.raises(DataError, match="`mcap recover` saves the messages"):
            BagReader(given)


def test_bag_cut_off_before_its_metadata_is_named(make_bag: MakeBag) -> None:
    path = make_bag()
    (path / "metadata.yaml").unlink()
    with pytest.raises(DataError, match=r"no metadata.yaml.*reindex"):
        BagReader(path)


@pytest.mark.parametrize(
    "content", ["", "rosbag2_bagfile_information: 3", "{", "rosbag2_bagfile_information: {}"]
)
def test_damaged_metadata_is_refused(make_bag: MakeBag, content: str) -> None:
    path = make_bag()
    (path / "metadata.yaml").write_text(content)
    with pytest.raises(DataError, match="cannot be read, it is damaged"):
        BagReader(path)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.9, 0.999])
def test_truncated_file_is_refused_wherever_it_ends(make_bag: MakeBag, storage: str, share: float) -> None:
    path = make_bag(storage=storage, count=20)
    (file,) = (child for child in path.iterdir() if child.suffix in (".mcap", ".db3"))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="damaged or truncated"), BagReader(path) as bag:
        list(bag.frames())


def test_missing_storage_file_is_refused(make_bag: MakeBag) -> None:
    path = make_bag()
    (path / "bag.mcap").unlink()
    with pytest.raises(DataError, match="missing"):
        BagReader(path)


def test_bag_without_messages_is_refused(info: bytes, make_bag: MakeBag, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="zero messages"):
        BagReader(make_bag(count=0))
    path = bag_of(
        tmp_path / "b", {"/a/image": (messages.IMAGE, []), "/a/camera_info": (messages.CAMERA_INFO, [info])}
    )
    with pytest.raises(DataError, match=r"no messages of sensor_msgs/Image.*/a/camera_info"):
        BagReader(path)
    with pytest.raises(DataError, match="topic /a/image holds zero messages"):
        BagReader(path, image_topic="/a/image")


def test_image_topic_without_camera_info_is_refused(image: bytes, tmp_path: Path) -> None:
    path = bag_of(tmp_path / "b", {"/a/image": (messages.IMAGE, [image])})
    with pytest.raises(
        DataError, match="image topic /a/image without camera_info: no messages on /a/camera_info"
    ):
        BagReader(path)


def test_several_cameras_are_listed_and_one_can_be_chosen(image: bytes, info: bytes, tmp_path: Path) -> None:
    topics = {
        f"/{side}/{name}": content
        for side in ("left", "right")
        for name, content in (
            ("image", (messages.IMAGE, [image])),
            ("camera_info", (messages.CAMERA_INFO, [info])),
        )
    }
    path = bag_of(tmp_path / "b", topics)
    with pytest.raises(
        DataError,
        match=r"2 cameras.*/left/image with /left/camera_info; /right/image with /right/camera_info",
    ):
        BagReader(path)
    with BagReader(path, image_topic="/right/image") as bag:
        assert bag.camera.info == "/right/camera_info"
    with BagReader(path, image_topic="/right/image", info_topic="/left/camera_info") as bag:
        assert bag.camera.info == "/left/camera_info"


def test_named_topics_must_exist_and_be_of_the_right_type(make_bag: MakeBag) -> None:
    path = make_bag()
    with pytest.raises(DataError, match="no topic /front/image; topics: /camera/camera_info"):
        BagReader(path, image_topic="/front/image")
    with pytest.raises(DataError, match="/camera/camera_info is of type sensor_msgs/msg/CameraInfo"):
        BagReader(path, image_topic="/camera/camera_info")
    with BagReader(path) as bag, pytest.raises(DataError, match="has no topic /tf"):
        list(bag.messages(["/tf"]))


def test_lonely_camera_info_elsewhere_belongs_to_the_lonely_image(
    image: bytes, info: bytes, tmp_path: Path
) -> None:
    path = bag_of(
        tmp_path / "b",
        {"/cam/image_raw": (messages.IMAGE, [image]), "/calibration": (messages.CAMERA_INFO, [info])},
    )
    with BagReader(path) as bag:
        assert bag.camera.info == "/calibration"


def test_raw_topic_is_preferred_to_its_compressed_copy(image: bytes, info: bytes, tmp_path: Path) -> None:
    compressed = messages.serialize(
        messages.compressed_image_message(b"\xff\xd8\xff", "jpeg", 1, "c"), messages.COMPRESSED_IMAGE
    )
    path = bag_of(
        tmp_path / "b",
        {
            "/a/image/compressed": (messages.COMPRESSED_IMAGE, [compressed]),
            "/a/image": (messages.IMAGE, [image]),
            "/a/camera_info": (messages.CAMERA_INFO, [info]),
        },
    )
    with BagReader(path) as bag:
        assert bag.camera.image == "/a/image"
    with BagReader(path, image_topic="/a/image/compressed") as bag:
        assert bag.camera.image_kind == messages.COMPRESSED_IMAGE


def test_compressed_depth_is_no_camera(image: bytes, info: bytes, tmp_path: Path) -> None:
    depth = messages.serialize(
        messages.compressed_image_message(b"depth", "16UC1; compressedDepth", 1, "c"),
        messages.COMPRESSED_IMAGE,
    )
    path = bag_of(
        tmp_path / "b",
        {
            "/depth/image/compressedDepth": (messages.COMPRESSED_IMAGE, [depth]),
            "/a/image": (messages.IMAGE, [image]),
            "/calibration": (messages.CAMERA_INFO, [info]),
        },
    )
    with BagReader(path) as bag:
        assert (bag.camera.image, bag.camera.info) == ("/a/image", "/calibration")


def test_message_of_another_type_than_its_topic_says_is_refused(info: bytes, tmp_path: Path) -> None:
    path = bag_of(
        tmp_path / "b",
        {"/a/image": (messages.IMAGE, [info[:40]]), "/a/camera_info": (messages.CAMERA_INFO, [info])},
    )
    with (
        BagReader(path) as bag,
        pytest.raises(DataError, match=r"/a/image at 1 ns: 40 bytes are not a sensor_msgs/msg/Image"),
    ):
        list(bag.frames())

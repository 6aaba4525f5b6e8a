from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from iup_pose_ros.bags import messages
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import SequenceFolder, convert_sequence
from iup_pose_ros.bags.writer import STORAGES
from iup_pose_ros.errors import DataError, ImageError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sequences"


def raw_image(bag: BagReader) -> np.ndarray:
    (recorded, *_) = bag.messages([bag.camera.image])
    message = messages.deserialize(recorded.data, bag.camera.image_kind)
    return np.asarray(message.data).reshape(message.height, message.width, -1)


@pytest.mark.parametrize("storage", STORAGES)
def test_sequence_becomes_a_bag_with_distorted_images_and_calibration(
    sample: Any, sequence_folder: Path, tmp_path: Path, storage: str
) -> None:
    calls: list[tuple[int, int]] = []
    convert_sequence(
        sequence_folder, tmp_path / "bag", storage=storage, progress=lambda *done: calls.append(done)
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with BagReader(tmp_path / "bag") as bag:
        np.testing.assert_array_equal(raw_image(bag), sample.picture(0))
        (recorded, *_) = bag.messages([bag.camera.info])
        times = [message.time for message in bag.messages([bag.camera.image])]
    info = messages.deserialize(recorded.data, messages.CAMERA_INFO)
    assert info.distortion_model == "plumb_bob"
    assert info.d.tolist() == [-0.1, 0.01, 0.001, 0.002, 0.0]
    assert times == [sample.stamp(index) for index in range(4)]


def test_compressed_conversion_copies_the_files(sequence_folder: Path, tmp_path: Path) -> None:
    convert_sequence(sequence_folder, tmp_path / "bag", compressed=True)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.camera.image == "/camera/image/compressed"
        (first, *_) = bag.messages([bag.camera.image])
        compressed = list(bag.frames())
    message = messages.deserialize(first.data, messages.COMPRESSED_IMAGE)
    file = next(iter(SequenceFolder.open(sequence_folder).images))
    assert message.data.tobytes() == file.read_bytes()
    convert_sequence(sequence_folder, tmp_path / "raw")
    with BagReader(tmp_path / "raw") as bag:
        for one, other in zip(compressed, bag.frames(), strict=True):
            np.testing.assert_array_equal(one.image, other.image)


def test_ground_truth_belongs_to_the_images_and_may_be_absent(sequence_folder: Path) -> None:
    sequence = SequenceFolder.open(sequence_folder)
    assert sequence.groundtruth is not None
    np.testing.assert_allclose(sequence.groundtruth.stamps, np.array(sequence.stamps) * 1e-9, atol=1e-6)
    (sequence_folder / "groundtruth.tum").unlink()
    assert SequenceFolder.open(sequence_folder).groundtruth is None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("timestamps.csv", None, "timestamps.csv cannot be read"),
        ("timestamps.csv", "timestamp,filename\n", "lists no image"),
        ("timestamps.csv", "time,file\n1,2\n", "line 2: columns timestamp,filename are required"),
        ("timestamps.csv", "timestamp,filename\nnow,a.png\n", "line 2: timestamp 'now' is not a number"),
        ("timestamps.csv", "timestamp,filename\n-1,a.png\n", "line 2: timestamp -1 s is outside"),
        ("timestamps.csv", "timestamp,filename\n1.0,none.png\n", "line 2: image .*none.png does not exist"),
        ("intrinsics.yaml", None, "intrinsics.yaml cannot be read"),
        ("intrinsics.yaml", "a: [", "is not YAML"),
        ("intrinsics.yaml", "- 3\n", "lacks fx, fy"),
        ("intrinsics.yaml", "fx: 5\nfy: 5\ncx: 3\nwidth: 8\nheight: 8\n", "lacks cy"),
        ("intrinsics.yaml", "{fx: 0, fy: 5, cx: 3, cy: 3, width: 8, height: 8}", "must be positive"),
        ("intrinsics.yaml", "{fx: a, fy: 5, cx: 3, cy: 3, width: 8, height: 8}", "could not convert"),
        (
            "intrinsics.yaml",
            "{fx: 9, fy: 5, cx: 3, cy: 3, width: 8, height: 8, distortion_model: fov}",
            "unknown distortion_model 'fov'; accepted are none, radtan",
        ),
        (
            "intrinsics.yaml",
            "{fx: 9, fy: 5, cx: 3, cy: 3, width: 8, height: 8, distortion_model: radtan}",
            "0 distortion_coeffs for radtan",
        ),
        ("groundtruth.tum", "1 2 3\n", "line 1: 3 columns"),
    ],
)
def test_malformed_folder_is_refused_with_its_file(
    sequence_folder: Path, file: str, content: str | None, message: str
) -> None:
    if content is None:
        (sequence_folder / file).unlink()
    else:
        (sequence_folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        SequenceFolder.open(sequence_folder)


def test_repeated_timestamp_is_refused(sequence_folder: Path) -> None:
    lines = (sequence_folder / "timestamps.csv").read_text().splitlines()
    (sequence_folder / "timestamps.csv").write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(DataError, match=r"line 6: timestamp .* does not increase"):
        SequenceFolder.open(sequence_folder)


def test_damaged_or_odd_image_ends_the_conversion_without_a_bag(
    sequence_folder: Path, tmp_path: Path
) -> None:
    sequence = SequenceFolder.open(sequence_folder)
    sequence.images[2].write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"image .*\.png is damaged, its header cannot be read"):
        convert_sequence(sequence, tmp_path / "bag")
    cv2.imwrite(str(sequence.images[1]), np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"32x24 pixels, intrinsics.yaml says 64x48"):
        convert_sequence(sequence, tmp_path / "bag")
    assert not (tmp_path / "bag").exists()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sequence folder .*none does not exist"):
        SequenceFolder.open(tmp_path / "none")


@pytest.mark.parametrize(
    "name",
    [
        "7scenes_redkitchen_sfm_3.75hz",
        "euroc_V1_01_start_static",
        "kitti_06_first51",
        "tum_fr3_office_1hz",
    ],
)
def test_shared_sequences_convert_and_their_frames_have_ground_truth(tmp_path: Path, name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"evaluation sequence {name} is not there: {SHARED} is optional")
    sequence = SequenceFolder.open(SHARED / name)
    convert_sequence(sequence, tmp_path / "bag", compressed=True)
    with BagReader(tmp_path / "bag") as bag:
        stamps = [frame.stamp for frame in bag.frames()]
    assert sequence.groundtruth is not None
    assert len(stamps) == len(sequence) == len(sequence.groundtruth)
    np.testing.assert_allclose(stamps, sequence.groundtruth.stamps, atol=1e-6)

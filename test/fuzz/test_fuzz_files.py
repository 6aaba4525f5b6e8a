"""Any recording, weights file, text file, parameter and file name is read, or refused by an IupPoseError."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from fuzzing import Limits, damaged, fuzz
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from iup_pose_ros.bags.messages import CameraCalibration
from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.sequence import SequenceFolder
from iup_pose_ros.bags.static_transforms import StaticTransforms
from iup_pose_ros.bags.trajectory_io import is_kitti, read_kitti, read_tum
from iup_pose_ros.bags.writer import STORAGES, CameraExtrinsics, write_camera_bag
from iup_pose_ros.datasets.pairs_folder import load_pairs_folder
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.node.settings import PARAMETERS, NodeConfig
from iup_pose_ros.node.trajectory_log import TrajectoryLog, file_inside
from iup_pose_ros.weights import SHIPPED_WEIGHTS

CALIBRATION = CameraCalibration(Intrinsics(50.0, 51.0, 31.0, 23.5, 64, 48))
TUM = "# stamp x y z\n1.000000001 0 0 0 0 0 0 1\n2.5 1 2 3 0 0 0.6 0.8\n3e0,1,2,3,0,0,0,-1\n"
KITTI = "1 0 0 1 0 1 0 2 0 0 1 3\n1 0 0 1 0 0 -1 2 0 1 0 3\n"
INTRINSICS = "fx: 50\nfy: 51\ncx: 31\ncy: 23.5\nwidth: 64\nheight: 48\ndistortion_model: radtan\n" + (
    "distortion_coeffs: [-0.1, 0.01, 0.001, 0.002]\n"
)
PAIRS = (
    "image0,image1,fx0,fy0,cx0,cy0,fx1,fy1,cx1,cy1,qx,qy,qz,qw,tx,ty,tz,width0,height0,width1,height1\n"
    "a.png,b.png,50,51,31,23,50,51,31,23,0,0,0,1,1,0,0,64,48,64,48\n"
)
WORDS = (
    "nan",
    "inf",
    "-1e309",
    "1e400",
    "0",
    "-",
    "1_0",
    "\0",
    "\N{BOM}",
    "\N{ARABIC-INDIC DIGIT ONE}",
    '"',
    "\n",
    ",,",
    "{}",
)


@st.composite
def altered(draw, original):
    """The text with parts replaced, as bytes; now and then no text at all."""
    text = original
    for place, length, word in draw(
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 9), st.sampled_from(WORDS) | st.text()), max_size=5
        )
    ):
        at = place % (len(text) + 1)
        text = text[:at] + word + text[at + length :]
    return draw(st.just(text.encode("utf-8", "surrogatepass")) | damaged([original.encode()]))


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    """Limits of the memory, from the largest file, the network's weights."""
    read_bag(
        write_bag(tmp_path_factory.mktemp("first") / "bag", "mcap")
    )  # what is loaded once does not count
    return Limits(SHIPPED_WEIGHTS.stat().st_size if SHIPPED_WEIGHTS.is_file() else 7_000_000)


def write_bag(path, storage, images=4):
    extrinsics = CameraExtrinsics(Pose.identity())
    with write_camera_bag(path, CALIBRATION, None, extrinsics, storage) as bag:
        for index in range(images):
            bag.write_image(index + 1, np.full((48, 64), index, dtype=np.uint8))
    return path


def read_bag(path):
    with BagReader(path) as bag:
        StaticTransforms.read(bag)
        return sum(1 for _ in bag.frames())


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("part", ["storage file", "metadata.yaml"])
def test_a_damaged_recording_is_read_or_refused(limits, tmp_path, storage, part):
    folder = write_bag(tmp_path / "bag", storage)
    (stored,) = (file for file in folder.iterdir() if file.suffix in (".mcap", ".db3"))
    file = stored if part == "storage file" else folder / part
    original = file.read_bytes()

    @fuzz(500, share=0.1)
    @given(data=damaged([original]))
    def check(data):
        file.write_bytes(data)
        images = limits.check(lambda: read_bag(folder))
        assert images is None or images <= 400

    check()


@pytest.mark.skipif(not SHIPPED_WEIGHTS.is_file(), reason="the network's weights are not installed")
def test_a_damaged_weights_file_is_refused(limits, tmp_path):
    shipped = SHIPPED_WEIGHTS.read_bytes()
    # Without its last bytes the file is never valid, so that no example takes the time of a whole network.
    originals = [shipped[:-100], save({"weight": np.zeros(3, np.float32)}, {"format": "iup_pose"})]
    path = tmp_path / "net.safetensors"

    @fuzz(500, share=0.1)
    @given(data=damaged(originals))
    def check(data):
        path.write_bytes(data)
        assert limits.check(lambda: load_checkpoint(path)) is None

    check()


metadata = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_any_metadata_of_a_weights_file_is_refused(limits, tmp_path):
    path = tmp_path / "net.safetensors"
    keys = ("config", "input_size", "temperatures", "track_temperatures", "inlier_model")
    right = {
        "config": {},
        "input_size": [640, 480],
        "temperatures": {},
        "inlier_model": {"pose": {"bias": 1.0}},
    }

    @fuzz(500, share=0.1)
    @given(changed=st.dictionaries(st.sampled_from(keys), metadata | st.text(), min_size=1))
    def check(changed):
        texts = {key: json.dumps(value) for key, value in (right | changed).items()}
        texts |= {"format": "iup_pose", "format_version": "1", "training_data": ""}
        path.write_bytes(save({"weight": np.zeros(3, np.float32)}, texts))
        assert limits.check(lambda: load_checkpoint(path)) is None

    check()


@pytest.fixture
def sequence(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.zeros((48, 64), np.uint8))
    (tmp_path / "timestamps.csv").write_text("timestamp,filename\n1.5,1.png\n")
    (tmp_path / "intrinsics.yaml").write_text(INTRINSICS)
    (tmp_path / "groundtruth.tum").write_text(TUM)
    return tmp_path


TEXTS = {
    "a.tum": (TUM, lambda file: read_tum(file)),
    "a.kitti": (KITTI, lambda file: read_kitti(file, [1.0, 2.0]) if is_kitti(file) else None),
    "pairs.csv": (PAIRS, lambda file: load_pairs_folder(file.parent)),
    "timestamps.csv": ("timestamp,filename\n1.5,1.png\n", lambda file: SequenceFolder.open(file.parent)),
    "intrinsics.yaml": (INTRINSICS, lambda file: SequenceFolder.open(file.parent)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_file_is_read_or_refused(limits, sequence, name):
    original, read = TEXTS[name]
    file = sequence / name

    @fuzz(1_000, share=0.1)
    @given(data=altered(original))
    def check(data):
        file.write_bytes(data)
        limits.check(lambda: read(file))

    check()


def test_any_parameters_are_accepted_or_refused(limits):
    value = st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.lists(st.integers()),
        st.binary(max_size=3),
    )
    names = st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=8)

    @fuzz(1_000, share=0.1)
    @given(values=st.dictionaries(names, value, max_size=4))
    def check(values):
        config = limits.check(lambda: NodeConfig.from_parameters(values))
        if config is not None:
            assert all(
                not isinstance(value, float) or math.isfinite(value) for value in vars(config).values()
            )

    check()


def test_no_file_name_leaves_the_output_directory(limits, tmp_path):
    root = tmp_path / "output"
    root.mkdir()
    (root / "up").symlink_to(tmp_path)
    (root / "out.tum").symlink_to(tmp_path / "out.tum")
    parts = st.sampled_from(
        ("..", ".", "up", "a", "/", "~", "//", "out.tum", "", "\0", "a" * 300, "/etc", "%2e%2e")
    )
    names = st.lists(parts | st.text(max_size=5), max_size=5).map("/".join)

    @fuzz(1_000, share=0.1)
    @given(name=names)
    def check(name):
        path = limits.check(lambda: file_inside(str(root), name))
        assert path is None or root.resolve() in path.parents
        log = TrajectoryLog()
        log.add(1, Pose.identity())
        limits.check(lambda: log.save(str(root), name, "base in odom"))
        assert sorted(child.name for child in tmp_path.iterdir()) == ["output"]

    check()


def test_a_link_to_another_place_is_not_written_through(tmp_path):
    root, outside = tmp_path / "output", tmp_path / "outside.tum"
    root.mkdir()
    for name in ("a.tum.part", ".a.tum.part"):
        (root / name).symlink_to(outside)
    log = TrajectoryLog()
    log.add(1, Pose.identity())
    assert log.save(str(root), "a.tum", "base in odom").path == (root / "a.tum").resolve()
    assert not outside.exists()

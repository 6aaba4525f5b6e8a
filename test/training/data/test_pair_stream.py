from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair, resized_depth
from iup_pose_ros.datasets.sequence_pairs import PairSelection, PosedImage, sequence_pairs
from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.training.data.batch_stream import MixedStream
from iup_pose_ros.training.data.data_sets import DataSetConfig
from iup_pose_ros.training.data.pair_stream import PairStream, StreamConfig, pair_cluster
from iup_pose_ros.training.run_config import TrainConfig
from iup_pose_ros.training.synthetic.rendered_stream import SourceConfig
from iup_pose_ros.training.trainer import training_stream

K = np.array([[70.0, 0.0, 59.5], [0.0, 72.0, 37.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def pairs(tmp_path) -> list[DataSetPair]:
    """Five pairs of images of 120 x 80 with a bright spot, and depth."""
    made = []
    for i in range(5):
        image = np.full((80, 120, 3), 10 * i, np.uint8)
        cv2.circle(image, (70, 30), 6, (255, 255, 255), -1)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        depth = np.full((80, 120), 3000, np.uint16)
        depth[:, :20] = 0
        cv2.imwrite(str(tmp_path / f"{i}_depth.png"), depth)
        view = DataSetImage(tmp_path / f"{i}.png", K, depth=tmp_path / f"{i}_depth.png", depth_unit=0.001)
        T_1_0 = Pose(Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix(), np.array([1.0, 2.0, float(i)]))
        made.append(DataSetPair((view, view), T_1_0, metric=True, overlap=0.5, name=str(i)))
    return made


def test_a_pair_becomes_a_cluster_with_its_pose_and_adjusted_camera(pairs):
    cluster = pair_cluster(pairs[3], 64, 64)
    batch = PairStream(pairs[3:4], StreamConfig(sizes=((64, 64),), pairs=1)).batch(0)
    forward = batch.select(torch.tensor([[0, 0, 1]]))
    np.testing.assert_allclose(forward.R_1_0[0], pairs[3].T_1_0.rotation, atol=1e-6)
    np.testing.assert_allclose(forward.t_1_0[0], [1.0, 2.0, 3.0], atol=1e-5)
    assert len(batch.pairs()) == 2
    weight = (cluster.images[0, ..., 0].astype(float) - 30.0).clip(0.0)
    y, x = np.mgrid[:64, :64]
    spot = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    ray = Intrinsics(70.0, 72.0, 59.5, 37.0, 120, 80).rays(np.array([70.0, 30.0]))
    np.testing.assert_allclose(spot, (cluster.K[0] @ ray)[:2], atol=0.1)
    assert (cluster.depth > 2.9).all()  # the unknown columns are cropped away
    assert 0.1 < (pair_cluster(pairs[3], 96, 64).depth == 0.0).mean() < 0.2


def test_every_pass_shows_every_pair_once_in_an_order_that_repeats(pairs):
    def names(seed: int, start: int = 0) -> list[str]:
        stream = PairStream(pairs, StreamConfig(sizes=((32, 32),), pairs=2, seed=seed), start)
        return [name for batch in itertools.islice(stream, 5) for name in batch.scenes]

    first = names(0)
    assert sorted(first[:5]) == sorted(first[5:]) == list("01234")
    assert first == names(0)
    assert first[:5] != first[5:] or first != names(1)
    assert names(0, start=2)[:6] == first[4:]


def test_ranks_take_turns(pairs):
    config = StreamConfig(sizes=((32, 32),), pairs=1, shuffle=False)
    ranks = [PairStream(pairs, config, rank=rank, world_size=2) for rank in range(2)]
    assert [[batch.scenes[0] for batch in itertools.islice(rank, 2)] for rank in ranks] == [
        ["0", "2"],
        ["1", "3"],
    ]


def test_streams_that_cannot_yield_are_refused(pairs):
    with pytest.raises(DataError, match="list of pairs is empty"):
        PairStream([], StreamConfig())
    with pytest.raises(ConfigurationError, match="at least one pair"):
        PairStream(pairs, StreamConfig(pairs=0))


def test_sequences_are_paired_by_gap_rotation_and_baseline():
    view = DataSetImage(Path("none"), K)
    turns = Rotation.from_rotvec([[0.0, np.radians(angle), 0.0] for angle in (0, 10, 20, 80)]).as_matrix()
    sequence = [
        PosedImage(view, 0.1 * i, Pose(turn, np.array([float(i == 3), 0.0, 0.0])))
        for i, turn in enumerate(turns)
    ]
    pairs = sequence_pairs(sequence, PairSelection(gaps=(1, 2), max_rotation=30.0))
    assert len(pairs) == 3
    np.testing.assert_allclose(pairs[0].T_1_0.rotation, (turns[1].T @ turns[0]), atol=1e-12)
    moving = PairSelection(gaps=(1,), max_rotation=90.0, min_baseline=0.5)
    assert len(sequence_pairs(sequence, moving)) == 1
    with pytest.raises(ConfigurationError, match="gaps"):
        PairSelection(gaps=(0,))


def test_resizing_never_mixes_depths():
    depth = np.tile(np.array([1.0, 9.0], np.float32), (4, 3))
    assert set(np.unique(resized_depth(depth, 5, 3))) == {1.0, 9.0}
    np.testing.assert_array_equal(resized_depth(np.kron(depth, np.ones((3, 3), np.float32)), 6, 4), depth)


def write_pairs_folder(folder: Path, pairs: list[DataSetPair]) -> None:
    """The pairs' images as a folder with a pairs.csv, without depth."""
    folder.mkdir()
    camera = ",".join(f"{name}{view}" for view in (0, 1) for name in ("fx", "fy", "cx", "cy"))
    rows = [f"image0,image1,{camera},qx,qy,qz,qw,tx,ty,tz"]
    for pair in pairs:
        names = [str(image.path) for image in pair.images]
        values = [*[70.0, 72.0, 59.5, 37.0] * 2, *pair.T_1_0.quaternion, *pair.T_1_0.translation]
        rows.append(",".join([*names, *map(str, values)]))
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")


def test_a_run_mixes_data_sets_by_their_shares_and_repeats_itself(pairs, tmp_path):
    write_pairs_folder(tmp_path / "ours", pairs)
    config = TrainConfig(
        output=tmp_path / "run",
        training_data="test",
        source=SourceConfig(sizes=((64, 64),)),
        rendered=0.0,
        data_sets=(
            DataSetConfig("pairs", tmp_path / "ours", share=3.0, pairs=2),
            DataSetConfig("pairs", tmp_path / "ours", share=1.0, pairs=5),
        ),
    )
    sizes = [len(batch.images) for batch in itertools.islice(training_stream(config), 60)]
    assert set(sizes) == {2, 5}
    assert 0.5 < sizes.count(2) / len(sizes) < 0.95
    later = next(iter(training_stream(config, start=40, rank=1, world_size=2)))
    again = next(iter(training_stream(config, start=41)))
    assert later.index == again.index == 41
    assert torch.equal(later.images, again.images)


def test_a_data_set_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="did you mean 'megadepth'"):
        DataSetConfig("megadept", tmp_path)
    with pytest.raises(ConfigurationError, match="scannet requires the setting intrinsics"):
        DataSetConfig("scannet", tmp_path, index=tmp_path / "test.npz")
    with pytest.raises(ConfigurationError, match="must not be negative, and not all 0"):
        MixedStream([])

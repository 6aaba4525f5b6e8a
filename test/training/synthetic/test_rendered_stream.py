from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.data.batches import ClusterBatch
from iup_pose_ros.training.data.cluster import Cluster
from iup_pose_ros.training.synthetic.rendered_stream import RenderedClusters, SourceConfig, cluster_loader
from iup_pose_ros.training.synthetic.view_config import ViewConfig

CONFIG = SourceConfig(sizes=((64, 48),), clusters=2, textures=4, views=ViewConfig(views=3), seed=7)


def batches(dataset: RenderedClusters, count: int, workers: int = 0) -> list[ClusterBatch]:
    return list(itertools.islice(cluster_loader(dataset, workers), count))


def assert_same(first: ClusterBatch, second: ClusterBatch) -> None:
    assert (first.index, first.scenes, first.regimes) == (second.index, second.scenes, second.regimes)
    for name in ("images", "K", "T_world_camera", "depth", "overlap", "valid"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_the_stream_is_reproducible_and_can_be_resumed(renderer):
    first = batches(RenderedClusters(CONFIG), 4)
    resumed = batches(RenderedClusters(CONFIG, start=2), 2)
    assert [batch.index for batch in first] == [0, 1, 2, 3]
    for before, after in zip(first[2:], resumed, strict=True):
        assert_same(before, after)
    assert not torch.equal(first[0].images, first[1].images)
    other = batches(RenderedClusters(dataclasses.replace(CONFIG, seed=8)), 1)[0]
    assert not torch.equal(first[0].images, other.images)


@pytest.mark.slow
def test_worker_processes_yield_the_same_stream(renderer):
    expected = batches(RenderedClusters(CONFIG), 3)
    for before, after in zip(expected, batches(RenderedClusters(CONFIG), 3, workers=2), strict=True):
        assert_same(before, after)


def test_ranks_divide_the_stream(renderer):
    ranks = [batches(RenderedClusters(CONFIG, rank=rank, world_size=2), 2) for rank in range(2)]
    assert [[batch.index for batch in rank] for rank in ranks] == [[0, 2], [1, 3]]


def test_a_batch_has_the_documented_types_and_shapes(renderer):
    batch = batches(RenderedClusters(CONFIG), 1)[0]
    shapes = {name: tuple(getattr(batch, name).shape) for name in ("images", "K", "T_world_camera", "depth")}
    assert shapes == {
        "images": (2, 3, 3, 48, 64),
        "K": (2, 3, 3, 3),
        "T_world_camera": (2, 3, 4, 4),
        "depth": (2, 3, 48, 64),
    }
    assert (batch.images.dtype, batch.depth.dtype) == (torch.uint8, torch.float16)
    assert batch.valid.shape == batch.overlap.shape == (2, 3, 3)
    assert batch.metric.all()
    moved = batch.to("cpu")
    assert_same(batch, moved)


def test_every_batch_draws_one_of_the_sizes(renderer):
    config = dataclasses.replace(CONFIG, sizes=((64, 48), (48, 64)), clusters=1)
    shapes = {tuple(batch.images.shape[-2:]) for batch in batches(RenderedClusters(config), 8)}
    assert shapes == {(48, 64), (64, 48)}


def test_training_uses_scene_files_of_its_split_only(renderer, tmp_path, write_scene):
    for name in ("oa_dm1", "oa_dm3"):
        write_scene(tmp_path / f"{name}.npz")
    config = dataclasses.replace(CONFIG, scenes=tmp_path, procedural=0.0, period=1)
    for split, name in (("train", "oa_dm1"), ("heldout", "oa_dm3")):
        drawn = batches(RenderedClusters(dataclasses.replace(config, split=split)), 3)
        assert {scene for batch in drawn for scene in batch.scenes} == {name}


def test_invalid_settings_are_rejected(tmp_path):
    with pytest.raises(ConfigurationError, match="split 'test'"):
        SourceConfig(split="test")
    with pytest.raises(ConfigurationError, match="clusters is 0"):
        SourceConfig(clusters=0)
    with pytest.raises(DataError, match="image of 4x4 pixels"):
        SourceConfig(sizes=((4, 4),))
    with pytest.raises(ConfigurationError, match="rank 2"):
        RenderedClusters(CONFIG, rank=2, world_size=2)
    with pytest.raises(DataError, match="has 0 scenes"):
        RenderedClusters(dataclasses.replace(CONFIG, scenes=tmp_path))


def random_batch(views: int = 4) -> ClusterBatch:
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (views, 1, 1))
    poses[:, :3, :3] = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(views)]
    poses[:, :3, :3] *= np.sign(np.linalg.det(poses[:, :3, :3]))[:, None, None]
    poses[1:, :3, 3] = rng.standard_normal((views - 1, 3))
    poses[3, :3, 3] = poses[2, :3, 3]
    valid = ~np.eye(views, dtype=bool)
    valid[0, 1] = False
    cluster = Cluster(
        images=rng.integers(0, 255, (views, 8, 8, 3), dtype=np.uint8),
        K=np.tile(np.eye(3), (views, 1, 1)),
        T_world_camera=poses,
        depth=np.ones((views, 8, 8), np.float32),
        overlap=rng.random((views, views)),
        valid=valid,
        regime="wide",
        scene="none",
    )
    return ClusterBatch.from_clusters([cluster, cluster], 0)


def test_pairs_are_the_valid_ones_with_their_relative_pose():
    batch = random_batch()
    pairs = batch.pairs()
    assert len(pairs) == 2 * (4 * 3 - 1)
    poses = batch.T_world_camera.flatten(0, 1)
    point = torch.tensor([0.3, -0.2, 2.0])
    for i in range(len(pairs)):
        T_0, T_1 = poses[pairs.view_0[i]], poses[pairs.view_1[i]]
        world = T_0[:3, :3] @ point + T_0[:3, 3]
        expected = T_1[:3, :3].T @ (world - T_1[:3, 3])
        torch.testing.assert_close(pairs.R_1_0[i] @ point + pairs.t_1_0[i], expected)


def test_the_translation_of_a_stationary_camera_is_exactly_zero():
    pairs = random_batch().select(torch.tensor([[0, 2, 3], [1, 3, 2], [0, 0, 1]]))
    assert (pairs.t_1_0[:2] == 0.0).all()
    assert (pairs.t_1_0[2] != 0.0).any()


def test_a_subset_of_pairs_can_be_drawn_from_each_cluster():
    batch = random_batch()
    pairs = batch.pairs(maximum=5, generator=torch.Generator().manual_seed(0))
    assert len(pairs) == 10
    assert ((pairs.view_0 // 4) == (pairs.view_1 // 4)).all()
    drawn = {(int(a), int(b)) for a, b in zip(pairs.view_0, pairs.view_1, strict=True)}
    assert len(drawn) == 10
    assert not drawn & {(0, 1), (4, 5)}
    assert len(batch.pairs(maximum=100)) == 22

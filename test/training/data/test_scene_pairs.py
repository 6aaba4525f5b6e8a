"""Pairs of photographs keep their geometry through crops and mirrors; their stream can be resumed."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iup_pose_ros.datasets.matched_scenes import load_matched_scene, load_matched_scenes
from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.data.batch_stream import MixedStream
from iup_pose_ros.training.data.photometric import PhotometricConfig
from iup_pose_ros.training.data.scene_pairs import ScenePairs, ScenePairsConfig

POINTS = 60


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, write_photographs) -> Path:
    """Three scenes with 6, 1 and 2 pairs, the last in portrait format."""
    folder = tmp_path_factory.mktemp("scenes")
    write_photographs(folder / "many", 6, seed=1)
    write_photographs(folder / "one", 1, seed=2)
    write_photographs(folder / "upright", 2, size=(90, 120), seed=3)
    return folder


def settings(scenes: Path, **changes: object) -> ScenePairsConfig:
    config = ScenePairsConfig(scenes, sizes=((96, 64), (64, 96)), pairs=2, min_matches=10)
    return replace(config, **changes)  # type: ignore[arg-type]


def test_matches_are_those_of_the_row_of_the_table(scenes):
    pairs = load_matched_scene(scenes / "many")
    for matched in pairs:
        T, K = matched.pair.T_1_0, matched.pair.images[0].K
        rays = np.column_stack([matched.matches.pixels_0, np.ones(POINTS)]) @ np.linalg.inv(K).T
        points = rays * matched.matches.depth_0[:, None] @ T.rotation.T + T.translation
        np.testing.assert_allclose(points[:, 2], matched.matches.depth_1, rtol=1e-4)
    assert [len(scene) for scene in load_matched_scenes(scenes)] == [6, 1, 2]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_depths_poses_and_cameras_agree_behind_crops_swaps_and_mirrors(scenes, flip):
    stream = ScenePairs(settings(scenes, flip=flip))
    checked = 0
    for batch in (stream.batch(index) for index in range(12)):
        pairs, matches = batch.pairs(), batch.matches
        assert len(pairs) == 2
        K = batch.K.double()
        ones = torch.ones(*matches.known.shape, 1)
        rays = torch.cat([matches.pixels_0, ones], dim=2).double() @ K[:, 0].inverse().transpose(1, 2)
        points = rays * matches.depth_0[..., None] @ pairs.R_1_0.double().transpose(1, 2)
        points = points + pairs.t_1_0.double()[:, None]
        seen = points @ K[:, 1].transpose(1, 2)
        error = (seen[..., :2] / seen[..., 2:] - matches.pixels_1)[matches.known].norm(dim=1)
        assert error.max() < 0.01
        torch.testing.assert_close(points[..., 2][matches.known].float(), matches.depth_1[matches.known])
        checked += int(matches.known.sum())
    assert checked > 12 * 2 * 10


def test_the_images_show_the_points_where_the_matches_are(scenes):
    stream = ScenePairs(settings(scenes, flip=0.5, crop=0.6))
    for batch in (stream.batch(index) for index in range(8)):
        height, width = batch.images.shape[-2:]
        for view, pixels in enumerate((batch.matches.pixels_0, batch.matches.pixels_1)):
            images = batch.images[:, view, :1].float()
            size = pixels.new_tensor([width, height])
            assert ((pixels > -0.5) & (pixels < size - 0.5))[batch.matches.known].all()
            grid = ((2.0 * pixels + 1.0) / size - 1.0)[:, None]
            at_points = torch.nn.functional.grid_sample(images, grid, align_corners=False)[:, 0, 0]
            assert at_points[batch.matches.known].quantile(0.05) > 150.0
            assert images.median() < 60.0


def test_views_are_swapped_in_half_of_the_pairs(scenes):
    stream = ScenePairs(settings(scenes, flip=0.0, sizes=((96, 64),)))
    pair = load_matched_scene(scenes / "one")[0].pair
    forward = backward = 0
    for index in range(40):
        batch = stream.batch(index)
        pairs = batch.pairs()
        for place in (i for i, name in enumerate(batch.scenes) if name == "one"):
            t = pairs.t_1_0[place].numpy()
            forward += np.allclose(t, pair.T_1_0.translation, atol=1e-5)
            backward += np.allclose(t, pair.T_1_0.inverse().translation, atol=1e-5)
    assert forward >= 8
    assert backward >= 8


def test_every_scene_is_drawn_equally_often_and_keeps_its_format(scenes):
    stream = ScenePairs(settings(scenes))
    counts: Counter[str] = Counter()
    for batch in (stream.batch(index) for index in range(150)):
        counts.update(batch.scenes)
        portrait = batch.images.shape[-2] > batch.images.shape[-1]
        assert set(batch.scenes) == ({"upright"} if portrait else {"many", "one"})
    assert all(70 <= counts[name] <= 130 for name in ("many", "one", "upright")), counts


def test_a_crop_that_loses_the_matches_is_drawn_anew(scenes):
    counts = [
        int(ScenePairs(settings(scenes, crop=0.2, min_matches=least)).batch(index).matches.known.sum(1).min())
        for least, index in itertools.product((1, 25), range(10))
    ]
    assert min(counts[:10]) < 25 <= min(counts[10:])


def test_the_stream_goes_on_behind_any_batch_with_the_same_pixels(scenes):
    config, photometric = settings(scenes), PhotometricConfig()
    whole = list(itertools.islice(ScenePairs(config, photometric), 5))
    resumed = list(itertools.islice(ScenePairs(config, photometric, start=3), 2))
    for expected, batch in zip(whole[3:], resumed, strict=True):
        assert batch.index == expected.index
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.matches.pixels_1, expected.matches.pixels_1)
    assert not torch.equal(ScenePairs(config).batch(3).images, whole[3].images)


def test_a_group_of_batches_holds_the_share_of_every_stream(scenes):
    def stream(seed: int) -> ScenePairs:
        return ScenePairs(settings(scenes, seed=seed, pairs=1))

    mixed = MixedStream([(3.0, stream(1)), (1.0, stream(2))], group=4)
    second = [mixed.stream_of(index) for index in range(40)]
    assert [sum(second[start : start + 4]) for start in range(0, 40, 4)] == [1] * 10
    uneven = MixedStream([(2.0, stream(1)), (1.0, stream(2))], group=4)
    counts = [sum(uneven.stream_of(index) for index in range(start, start + 4)) for start in range(0, 400, 4)]
    assert set(counts) == {1, 2}
    assert 1.2 < np.mean(counts) < 1.5


def test_files_that_contradict_each_other_are_named(tmp_path, write_photographs):
    with pytest.raises(DataError, match="has no scene"):
        load_matched_scenes(tmp_path)
    write_photographs(tmp_path / "scene", 2)
    file = tmp_path / "scene" / "matches.npz"
    stored = dict(np.load(file))
    np.savez(file, **{**stored, "pair_start": stored["pair_start"][:-1]})
    with pytest.raises(DataError, match=r"matches of 1 pairs.*pairs.csv has 2 pairs"):
        load_matched_scenes(tmp_path)
    np.savez(file, **{name: array for name, array in stored.items() if name != "depth"})
    with pytest.raises(DataError, match="xy, depth, pair_start"):
        load_matched_scenes(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match="true matches"):
        load_matched_scenes(tmp_path)


def test_settings_out_of_range_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"crop is 0\.0"):
        ScenePairsConfig(tmp_path, crop=0.0)

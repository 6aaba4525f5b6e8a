from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iup_pose_ros.errors import ConfigurationError, DataError
from iup_pose_ros.training.synthetic.camera_motion import pose
from iup_pose_ros.training.synthetic.photographs import Photographs
from iup_pose_ros.training.synthetic.scenes import HELDOUT_SCENES, load_scene, scene_files

SHARED = Path(__file__).resolve().parents[4] / "shared/training"


def test_a_scene_file_is_rendered_with_its_textures(renderer, tmp_path, write_scene):
    write_scene(tmp_path / "cube.npz")
    scene = load_scene(tmp_path / "cube.npz")
    loaded = renderer.load(scene.mesh)
    K = np.array([[40.0, 0.0, 31.5], [0.0, 40.0, 23.5], [0.0, 0.0, 1.0]])
    view = renderer.render([loaded], K, pose(np.zeros(3), 0.0, 0.0, 0.0), 64, 48)
    np.testing.assert_allclose(view.depth, 3.0, rtol=1e-4)
    np.testing.assert_allclose(view.colour.mean(axis=(0, 1)), (250, 10, 10), atol=6)
    assert scene.viewpoints.shape == (64, 5)


def test_transparent_surfaces_are_skipped(renderer, tmp_path, write_scene):
    write_scene(tmp_path / "cube.npz", transparent=np.arange(12) // 2 == 1)
    loaded = renderer.load(load_scene(tmp_path / "cube.npz").mesh)
    K = np.array([[400.0, 0.0, 31.5], [0.0, 400.0, 23.5], [0.0, 0.0, 1.0]])
    view = renderer.render([loaded], K, pose(np.zeros(3), 0.0, 0.0, 0.0), 64, 48)
    assert np.isinf(view.depth).all()


def test_photographs_are_used_for_distractors_and_replace_textures(tmp_path, write_scene):
    write_scene(tmp_path / "cube.npz")
    photograph = np.full((20, 30, 3), 77, np.uint8)
    plain = load_scene(tmp_path / "cube.npz", [photograph])
    assert plain.sprites == (2,)
    assert (plain.mesh.textures[2] == 77).all()
    seeds = range(8)
    replaced = [
        load_scene(tmp_path / "cube.npz", (), [photograph], np.random.default_rng(seed)).mesh.textures
        for seed in seeds
    ]
    share = np.mean([(textures == 77).all(axis=(1, 2, 3)) for textures in replaced])
    assert 0.2 < share < 0.8


def test_held_out_scenes_are_excluded_from_training(tmp_path, write_scene):
    for name in ("oa_dm1", "oa_dm3", "aws_bookstore", "mine"):
        write_scene(tmp_path / f"{name}.npz")
    names = {
        split: [path.stem for path in scene_files(tmp_path, split)] for split in ("train", "heldout", "all")
    }
    assert names == {
        "train": ["mine", "oa_dm1"],
        "heldout": ["aws_bookstore", "oa_dm3"],
        "all": ["aws_bookstore", "mine", "oa_dm1", "oa_dm3"],
    }
    assert [path.stem for path in scene_files(tmp_path, "heldout", ["mine"])] == ["mine"]


def test_invalid_scenes_are_rejected(tmp_path):
    with pytest.raises(DataError, match="has 0 scenes"):
        scene_files(tmp_path, "train")
    with pytest.raises(
        ConfigurationError, match="split 'test' does not exist; accepted: train, heldout, all"
    ):
        scene_files(tmp_path, "test")
    with pytest.raises(DataError, match="does not exist"):
        load_scene(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.npz is not a readable \.npz"):
        load_scene(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", positions=np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"lacks the arrays uv, .*it has \['positions'\]"):
        load_scene(tmp_path / "other.npz")


def test_the_last_tenth_of_the_photographs_of_each_source_is_held_out(tmp_path):
    import cv2

    for source in ("street", "field"):
        for i in range(10):
            cv2.imwrite(str(tmp_path / f"{source}_{i:04d}.png"), np.full((4, 4, 3), i, np.uint8))
    train, heldout = (Photographs(tmp_path, split) for split in ("train", "heldout"))
    assert (len(train), len(heldout)) == (18, 2)
    drawn = heldout.draw(np.random.default_rng(0), 2)
    assert [int(picture[0, 0, 0]) for picture in drawn] == [9, 9]
    with pytest.raises(DataError, match="has 0 photographs"):
        Photographs(tmp_path / "none")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared training scenes are not on this machine")
def test_the_shared_scenes_can_be_loaded_and_all_held_out_scenes_exist():
    held = {path.stem for path in scene_files(SHARED / "scenes", "heldout")}
    assert held == set(HELDOUT_SCENES)
    assert not held & {path.stem for path in scene_files(SHARED / "scenes", "train")}
    scene = load_scene(SHARED / "scenes/oa_dm1.npz")
    assert len(scene.viewpoints) > 1000

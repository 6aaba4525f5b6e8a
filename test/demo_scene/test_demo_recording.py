from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.demo_scene import demo_recording
from iup_pose_ros.demo_scene.demo_recording import CAMERA, Recipe, record_demo
from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.planes import PlaneScene
from iup_pose_ros.errors import DataError

SHORT = Recipe(duration=4.0, rate=1.5)


class InterruptionError(Exception):
    pass


@pytest.fixture(autouse=True)
def _room_built_once(room: PlaneScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_recording, "build_room", lambda seed: room)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_recording_contains_all_frames_and_ground_truth(tmp_path: Path, storage: str) -> None:
    calls: list[tuple[int, int]] = []
    recipe = Recipe(duration=4.0, rate=2.0, storage=storage)
    made = record_demo(tmp_path / "demo", recipe, lambda *done: calls.append(done))
    assert calls == [(index, 8) for index in range(1, 9)]
    with BagReader(made.bag) as bag:
        frames = list(bag.frames())
        assert list(bag.messages(["/tf_static"]))
    truth = read_tum(made.groundtruth)
    assert [frame.intrinsics for frame in frames] == [CAMERA] * 8
    np.testing.assert_allclose([frame.stamp for frame in frames], truth.stamps, atol=1e-6)
    np.testing.assert_allclose(truth.positions, fly(4.0, 2.0).positions, atol=1e-8)
    standing, moving = (np.abs(frames[i].image.astype(int) - frames[0].image).mean() for i in (1, 7))
    assert 0.5 < standing < 3.0  # noise of two images
    assert moving > 10.0


@pytest.mark.slow
def test_recording_is_rendered_once_and_is_reproducible(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    first = record_demo(tmp_path / "first", SHORT)
    before = contents(tmp_path / "first")

    def never(done: int, total: int) -> None:
        raise AssertionError("rendered again")

    assert record_demo(tmp_path / "first", SHORT, never) == first
    record_demo(tmp_path / "second", SHORT)
    after = contents(tmp_path / "second")
    assert before == contents(tmp_path / "first") == after
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_recording_of_another_recipe_is_replaced(tmp_path: Path) -> None:
    record_demo(tmp_path / "demo", Recipe(duration=4.0, rate=1.0))
    made = record_demo(tmp_path / "demo", SHORT)
    with BagReader(made.bag) as bag:
        assert bag.image_count == 6


@pytest.mark.slow
def test_interrupted_rendering_leaves_no_files_and_can_be_repeated(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        record_demo(tmp_path / "demo", SHORT, interrupt)
    assert list(tmp_path.iterdir()) == []
    assert record_demo(tmp_path / "demo", SHORT).bag.exists()


def test_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious.txt").write_text("keep")
    with pytest.raises(DataError, match="is not a demo recording"):
        record_demo(tmp_path / "demo", SHORT)
    assert (tmp_path / "demo" / "precious.txt").read_text() == "keep"


def test_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        record_demo(tmp_path / "file" / "demo", SHORT)

"""The script for a machine with a GPU, at tiny sizes on the CPU: what it packs, times, trains and ends."""

from __future__ import annotations

import json
import os
import shutil

import accelerator_run
import cv2
import numpy as np
import pytest
import torch
from accelerator_pack import SHARES, copy_share, total_size
from accelerator_timings import time_networks

from iup_pose_ros.benchmark.timing import Conditions
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.training.training_step import StepInput
from iup_pose_ros.weights import SHIPPED_WEIGHTS


def test_packed_share_of_every_kind_fits_the_space(tmp_path):
    sources = {}
    for kind in SHARES:
        (tmp_path / kind).mkdir()
        sources[kind] = [tmp_path / kind / f"{number}.bin" for number in range(8)]
        for path in sources[kind]:
            path.write_bytes(bytes(100))
    sizes = copy_share(sources, tmp_path / "packed", 1000)
    assert sizes == {kind: int(1000 * share) for kind, share in SHARES.items()}
    assert total_size(tmp_path / "packed") == 1000


def test_every_stage_gets_a_time_and_a_failed_mode_a_text(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("graph capture works on this machine; the failure needs one without CUDA")
    path = tmp_path / "timings.json"
    for mode in ("eager", "graph"):
        time_networks(mode, [(Conditions(64, 64), "small")], 1, path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    stages = ["encode", "match", "pair", "pose"]
    assert [(row["mode"], row["name"]) for row in rows] == [
        *(("eager", stage) for stage in stages),
        *(("graph", stage) for stage in stages),
    ]
    assert all(row["p50"] > 0.0 and "error" not in row for row in rows[:4])
    assert all("CUDA" in row["error"] for row in rows[4:])


def test_a_phase_is_ended_with_its_time_and_its_output_kept(tmp_path):
    endless = ["sh", "-c", "echo begun; sleep 600"]
    code, printed = accelerator_run.run_limited(endless, 1.0, tmp_path / "log")
    assert (code, printed) == ("killed at the end of its time", "begun\n")


def test_repeated_batch_refers_to_its_own_views():
    images = torch.arange(3.0)[:, None]
    first, last = torch.tensor([0]), torch.tensor([2])
    given = StepInput(images, images, images, first, last, images, images)
    twice = accelerator_run.repeated(given, 2)
    assert twice.images.flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert (twice.view_0.tolist(), twice.view_1.tolist()) == ([0, 3], [2, 5])


@pytest.mark.slow
@pytest.mark.skipif("LONG_TESTS" not in os.environ, reason="takes 15 seconds; LONG_TESTS=1 make test runs it")
def test_training_writes_weights_of_a_packed_folder(renderer, write_scene, write_photographs, tmp_path):
    packed = tmp_path / "packed"
    (packed / "scenes").mkdir(parents=True)
    (packed / "photographs").mkdir()
    write_scene(packed / "scenes" / "cube.npz")
    rng = np.random.default_rng(0)
    for number in range(12):
        cv2.imwrite(str(packed / "photographs" / f"noise_{number}.png"), rng.integers(0, 255, (64, 64, 3)))
    write_photographs(packed / "posed" / "dots", 2)
    shutil.copyfile(SHIPPED_WEIGHTS, packed / "start.safetensors")
    (packed / "training_data.txt").write_text("Made-up scenes.", encoding="utf-8")
    accelerator_run.main(["train", "small", str(packed), "--output", str(tmp_path), "--smoke"])
    trained, info = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    before = load_checkpoint(SHIPPED_WEIGHTS)[0].state_dict()
    assert info.training_data.startswith("Made-up scenes.")
    assert any(not torch.equal(value, before[name]) for name, value in trained.state_dict().items())

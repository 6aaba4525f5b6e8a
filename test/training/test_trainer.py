"""A run that is cut off goes on as if it had not been; what it writes is whole."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from iup_pose_ros.errors import CheckpointError, ConfigurationError
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.training import run_state, trainer
from iup_pose_ros.training.configuration import from_mapping
from iup_pose_ros.training.losses import LossWeights
from iup_pose_ros.training.run_config import (
    EvaluationConfig,
    NetworkConfig,
    OptimizerConfig,
    TrainConfig,
    read_config,
)
from iup_pose_ros.training.run_state import checkpoints
from iup_pose_ros.training.schedule import learning_rate, likelihood_share
from iup_pose_ros.training.synthetic.rendered_stream import RenderedClusters, SourceConfig
from iup_pose_ros.training.synthetic.view_config import ViewConfig
from iup_pose_ros.training.trainer import Trainer, TrainingError, train

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "training_data": "Made-up scenes.",
    "steps": 4,
    "pairs": 4,
    "workers": 0,
    "device": "cpu",
    "checkpoint_every": 2,
    "tensorboard": False,
    "network": {"preset": "small_grid", "initial_pose": "identity"},
    "optimizer": {"warm_up": 2, "plain": 1, "blend": 2},
    "source": {"sizes": [[96, 64]], "clusters": 1, "textures": 4, "views": {"views": 3}, "seed": 3},
}


def tiny(output: Path, **changes: object) -> TrainConfig:
    settings = TrainConfig(
        output=output,
        training_data="Made-up scenes.",
        steps=4,
        pairs=4,
        workers=0,
        device="cpu",
        checkpoint_every=2,
        tensorboard=False,
        # What random matches agree on jumps with every rounding error.
        network=NetworkConfig(initial_pose="identity"),
        optimizer=OptimizerConfig(warm_up=2, plain=1, blend=2),
        source=SourceConfig(sizes=((96, 64),), clusters=1, textures=4, views=ViewConfig(views=3), seed=3),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole_run(renderer, tmp_path_factory):
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny(folder))
    return folder


def assert_same_run(folder: Path, whole: Path) -> None:
    assert rows(folder) == rows(whole)
    assert checkpoints(folder)[-1].name == checkpoints(whole)[-1].name
    state, expected = (load_checkpoint(path / trainer.WEIGHTS)[0].state_dict() for path in (folder, whole))
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0.0, atol=1e-6)


@pytest.mark.slow
def test_a_run_killed_between_checkpoints_goes_on_as_if_it_had_not_been(whole_run, tmp_path):
    """kill -9 at step 3, one step behind the checkpoint."""
    settings = {**SETTINGS, "output": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, str(tmp_path / "run.yaml")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    assert process.wait(120) == -signal.SIGKILL
    config = read_config(tmp_path / "run.yaml")
    assert config == tiny(tmp_path / "run")
    assert [row["step"] for row in rows(config.output)] == ["1", "2", "3"]
    assert [path.name for path in checkpoints(config.output)] == ["checkpoint_000000002.safetensors"]
    train(config, resume=True)
    assert_same_run(config.output, whole_run)


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from iup_pose_ros.training.run_config import read_config
from iup_pose_ros.training.run_log import RunLog
from iup_pose_ros.training.trainer import train

add_step = RunLog.add_step

def add_and_die(log, row):
    add_step(log, row)
    if row["step"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

RunLog.add_step = add_and_die
train(read_config(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_checkpoint_whose_writing_dies_leaves_the_one_before(whole_run, tmp_path, monkeypatch):
    save_file = vars(run_state)["save_file"]

    def die_half_way(tensors, path, metadata):
        save_file(tensors, path, metadata)
        if '"step": 4' in metadata["progress"]:
            os.truncate(path, path.stat().st_size // 2)
            raise OSError("no space left on device")

    monkeypatch.setattr(run_state, "save_file", die_half_way)
    with pytest.raises(CheckpointError, match="no space left"):
        train(tiny(tmp_path))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint_000000002.safetensors"]
    monkeypatch.undo()
    train(tiny(tmp_path), resume=True)
    assert_same_run(tmp_path, whole_run)


def test_a_folder_with_a_run_is_not_overwritten(whole_run):
    with pytest.raises(ConfigurationError, match="already contains a run"):
        train(tiny(whole_run))


def test_a_run_is_not_resumed_with_another_network(whole_run):
    with pytest.raises(CheckpointError, match="image_area"):
        train(tiny(whole_run, network=NetworkConfig(image_area=9999)), resume=True)


def test_a_damaged_checkpoint_is_named(whole_run, tmp_path):
    (tmp_path / "checkpoint_000000002.safetensors").write_bytes(b"\x08" * 100)
    with pytest.raises(CheckpointError, match="checkpoint_000000002"):
        train(tiny(tmp_path), resume=True)


def test_the_weights_file_says_what_it_was_trained_on(whole_run):
    _, info = load_checkpoint(whole_run / trainer.WEIGHTS)
    pairs = sum(int(row["pairs"]) for row in rows(whole_run))
    assert info.training_data == f"Made-up scenes. (4 steps, {pairs} pairs)"
    assert info.input_size == (96, 64)
    assert info.config.image_area == 96 * 64


@pytest.mark.slow
def test_the_weights_file_holds_the_average_of_the_weights(renderer, tmp_path):
    """Decay 0 averages over the last step only; a run of one step then has both alike."""
    config = tiny(tmp_path, steps=1, optimizer=OptimizerConfig(average=0.0, warm_up=1))
    run = Trainer(config, trainer._fabric(config))
    model, _ = load_checkpoint(run.run())
    for name, value in run._network.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_the_loss_falls_on_a_batch_seen_again_and_again(renderer, tmp_path, monkeypatch):
    batch = next(iter(RenderedClusters(tiny(tmp_path).source)))
    monkeypatch.setattr(trainer, "cluster_loader", lambda stream, workers: itertools.repeat(batch))
    optimizer = OptimizerConfig(warm_up=2, plain=100)
    train(tiny(tmp_path, steps=10, pairs=None, checkpoint_every=10, optimizer=optimizer))
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]


def test_mixed_precision_rounds_neither_cameras_nor_truth(renderer, tmp_path):
    batch = next(iter(RenderedClusters(tiny(tmp_path).source)))
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        config = tiny(tmp_path, precision=precision)
        losses.append(Trainer(config, trainer._fabric(config))._step(iter([batch])))
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=0.1)
    assert losses[1]["correspondence"] == pytest.approx(losses[0]["correspondence"], rel=0.1)
    assert losses[1]["loss"] != losses[0]["loss"]


def test_training_stops_when_gradients_are_never_finite(renderer, tmp_path, monkeypatch):
    batch = next(iter(RenderedClusters(tiny(tmp_path).source)))
    monkeypatch.setattr(trainer, "cluster_loader", lambda stream, workers: itertools.repeat(batch))
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda parameters, maximum: torch.tensor(torch.nan))
    monkeypatch.setattr(trainer, "_MAXIMUM_SKIPPED", 3)
    with pytest.raises(TrainingError, match=r"in 3 steps until step 3.*learning_rate"):
        train(tiny(tmp_path, steps=10, pairs=1, checkpoint_every=10))


def test_evaluation_on_real_pairs_is_logged(whole_run, tmp_path):
    folder = ROOT.parent / "shared" / "data" / "pairs" / "llff_fern"
    if not (folder / "pairs.csv").is_file():
        pytest.skip("shared/data is not beside the repository")
    evaluation = EvaluationConfig(folders=(folder,), every=1, max_pairs=2)
    train(tiny(tmp_path, steps=1, evaluation=evaluation))
    with (tmp_path / "evaluation.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["step"], row["split"], row["set"], row["pairs"]) for row in found] == [
        (step, split, name, "2")
        for step in ("0", "1")
        for split, name in (("pairs", "llff_fern"), ("pairs", "mean"), ("all", "mean"))
    ]
    assert [int(row["pairs_seen"]) for row in found] == [0, 0, 0, 4, 4, 4]
    assert 0.0 <= float(found[0]["rotation_deg"]) <= 180.0
    assert (tmp_path / "evaluation_000000001.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": {}}, "unknown setting optimiser; did you mean 'optimizer'"),
        ({"optimizer": {"learning_rat": 1.0}}, r"did you mean 'optimizer\.learning_rate'"),
        ({"source": {"cluster": 1}}, r"did you mean 'source\.clusters'"),
        ({"precision": "16"}, "accepted: '32-true', 'bf16-mixed'"),
        ({"steps": 0}, "steps is 0; the minimum is 1"),
        (
            {"source": {"sizes": [[96, 64], [320, 240]]}},
            "320x240 in sizes; multiples of 32 are required",
        ),
        ({"training_data": None}, "training_data"),
    ],
)
def test_wrong_settings_are_named(tmp_path, changes, message):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "output": "run", **changes}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_config(path)


def test_a_setting_without_default_must_be_given(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("output: run\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="setting training_data is missing"):
        read_config(path)


@pytest.mark.parametrize(
    "name", ["small", "small_fine", "small_matches", "small_poses", "small_trunk", "base"]
)
def test_the_annotated_examples_are_valid(name: str):
    text = (ROOT / "config" / f"train_{name}.yaml").read_text()
    config = from_mapping(TrainConfig, yaml.safe_load(text))
    assert config.network.preset == ("base" if name == "base" else "small_grid")
    # With what is commented out too, each setting in the place of the one it stands beside.
    every = text.replace("data_sets: []", "data_sets:").replace("\n#  - ", "\n  - ")
    assert len(from_mapping(TrainConfig, yaml.safe_load(every)).data_sets) == text.count("#  - {layout")


def test_the_learning_rate_rises_then_falls_to_its_final_share():
    config = OptimizerConfig(learning_rate=1.0, final=0.1, warm_up=10)
    rates = [learning_rate(config, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))


def test_the_likelihood_counts_after_the_plain_errors():
    config = OptimizerConfig(plain=10, blend=20)
    assert [likelihood_share(config, step) for step in (0, 10, 20, 30, 99)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_frozen_modules_stay_and_fresh_ones_begin_anew(renderer, whole_run, tmp_path):
    """Training matches alone: no pose is computed, and what is frozen keeps every value."""
    weights = whole_run / trainer.WEIGHTS
    network = NetworkConfig(
        initial_pose="identity",
        weights=weights,
        fresh=("translation_decoder",),
        frozen=("matcher.encoder", "matcher.alignment", "matcher.correspondence", "rotation_decoder"),
        fixed_statistics=True,
    )
    train(tiny(tmp_path, network=network, loss=LossWeights(pose=0.0, refinement=1.0), steps=2))
    assert [row["rotation_deg"] for row in rows(tmp_path)] == ["nan", "nan"]
    before, after = (load_checkpoint(path)[0].state_dict() for path in (weights, tmp_path / trainer.WEIGHTS))

    def changed(module: str) -> bool:
        names = [name for name in before if name.startswith(f"{module}.")]
        return any(not torch.equal(before[name], after[name]) for name in names)

    assert not any(changed(module) for module in network.frozen)
    assert changed("matcher.refinement")
    assert changed("translation_decoder")


def test_a_module_that_does_not_exist_is_named(tmp_path):
    config = NetworkConfig(frozen=("decoder",))
    with pytest.raises(ConfigurationError, match="no module 'decoder'; it has matcher"):
        trainer.initial_network(config, (96, 64))

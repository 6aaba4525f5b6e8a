"""Runs of the network on keypoints, trained on photographs alone: no renderer is needed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.training import trainer
from iup_pose_ros.training.data.scene_pairs import ScenePairsConfig
from iup_pose_ros.training.losses import LossWeights
from iup_pose_ros.training.periodic_evaluation import PeriodicEvaluation
from iup_pose_ros.training.run_config import EvaluationConfig, NetworkConfig, OptimizerConfig, TrainConfig
from iup_pose_ros.training.run_log import RunLog
from iup_pose_ros.training.run_state import checkpoints
from iup_pose_ros.training.synthetic.rendered_stream import SourceConfig
from iup_pose_ros.training.trainer import BEST_WEIGHTS, WEIGHTS, train
from iup_pose_ros.weights import SHIPPED_WEIGHTS

FROZEN = ("realignment", "rotation_decoder", "translation_decoder")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, write_photographs) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for seed, name in enumerate(("first", "second")):
        write_photographs(folder / name, 2, seed=seed)
    return folder


def tiny(output: Path, scenes: Path, **changes: object) -> TrainConfig:
    settings = TrainConfig(
        output=output,
        training_data="Photographs made by the tests.",
        steps=4,
        micro_batches=2,
        workers=0,
        device="cpu",
        checkpoint_every=2,
        tensorboard=False,
        rendered=0.0,
        photographs=ScenePairsConfig(scenes, sizes=((96, 64),), pairs=2, min_matches=10, matches=40),
        network=NetworkConfig(
            preset="small", tokens=80, image_area=96 * 64, frozen=FROZEN, fixed_statistics=True
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, warm_up=2),
        loss=LossWeights(pose=0.0, correspondence=1.0, refinement=0.0),
        source=SourceConfig(sizes=((96, 64),)),
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def rows(folder: Path, name: str = "log.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_ended(scenes, tmp_path):
    config = tiny(tmp_path / "run", scenes, keep=5)
    train(config)
    log, weights = rows(config.output), load_checkpoint(config.output / WEIGHTS)[0].state_dict()
    assert [row["pairs"] for row in log] == ["4"] * 4
    checkpoints(config.output)[-1].unlink()
    (config.output / WEIGHTS).unlink()
    train(config, resume=True)
    assert rows(config.output) == log
    for name, value in load_checkpoint(config.output / WEIGHTS)[0].state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0.0, atol=1e-6)


def test_the_loss_falls_and_frozen_modules_stay(scenes, tmp_path):
    config = tiny(tmp_path, scenes, steps=25, checkpoint_every=25)
    # From the published start: of random matches all are given up.
    config = replace(
        config,
        network=replace(config.network, weights=SHIPPED_WEIGHTS),
        optimizer=OptimizerConfig(learning_rate=3e-5, warm_up=2),
    )
    torch.manual_seed(config.seed)
    before = trainer.initial_network(config.network, (96, 64)).state_dict()
    train(config)
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    network, info = load_checkpoint(tmp_path / WEIGHTS)
    assert network.config.tokens == PRESETS["small"].tokens
    assert "25 steps, 100 pairs" in info.training_data
    name = "rotation_decoder.film.embed.weight"
    torch.testing.assert_close(
        network.state_dict()[name], before[name], rtol=1e-3, atol=1e-6
    )  # stored halved


def test_a_run_without_gain_ends_and_keeps_its_best_weights(scenes, tmp_path, monkeypatch):
    scores = iter([10.0, 30.0, 20.0, 25.0, 99.0])

    def run(self, network, step, pairs_seen):
        row = dict.fromkeys(RunLog.EVALUATION_COLUMNS, next(scores))
        return [{**row, "step": step, "pairs_seen": pairs_seen, "split": "all", "set": "mean"}]

    monkeypatch.setattr(PeriodicEvaluation, "run", run)
    evaluation = EvaluationConfig(every=1, patience=2)
    train(tiny(tmp_path, scenes, steps=9, evaluation=evaluation))
    assert [row["step"] for row in rows(tmp_path, "evaluation.csv")] == ["0", "1", "2", "3"]
    assert [row["pairs_seen"] for row in rows(tmp_path, "evaluation.csv")] == ["0", "4", "8", "12"]
    assert "1 steps, 4 pairs" in load_checkpoint(tmp_path / BEST_WEIGHTS)[1].training_data
    assert checkpoints(tmp_path)[-1].name == "checkpoint_000000003.safetensors"


def test_checkpoints_are_written_by_the_clock_too(scenes, tmp_path):
    train(tiny(tmp_path, scenes, steps=3, checkpoint_every=100, checkpoint_minutes=0.0, keep=5))
    assert len(checkpoints(tmp_path)) == 3

"""Corrections of standard deviations undo a known overconfidence and reach the weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from iup_pose_ros.datasets.images import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.calibration import NormalErrors
from iup_pose_ros.evaluation.temperature import calibrated_weights, fitted_correction, left_out
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import CheckpointInfo, Temperatures, load_checkpoint, save_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.iup_pose import IUPPose

K = np.array([[60.0, 0.0, 39.5], [0.0, 60.0, 31.5], [0.0, 0.0, 1.0]])


def errors(
    overconfidence: float, dof: int, count: int = 2000, seed: int = 0, floor: float = 0.0
) -> NormalErrors:
    """Errors of which a share is told with too small deviations, and a share (``floor``, rad) not at all."""
    rng = np.random.default_rng(seed)
    sigma = np.radians(rng.uniform(0.1, 3.0, (count, dof)))
    true = np.hypot(overconfidence * sigma, floor)
    return NormalErrors(true * rng.standard_normal((count, dof)), sigma**2)


@pytest.mark.parametrize("dof", [2, 3])
@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 5.0])
def test_factor_is_the_overconfidence(overconfidence: float, dof: int) -> None:
    found = fitted_correction([errors(overconfidence, dof)])
    assert found.factor == pytest.approx(overconfidence, rel=0.08)
    assert found.floor < np.radians(0.3) * overconfidence


def test_floor_is_what_deviations_do_not_tell_of() -> None:
    found = fitted_correction([errors(2.0, 3, floor=np.radians(1.0))])
    assert found.factor == pytest.approx(2.0, rel=0.15)
    assert found.floor == pytest.approx(np.radians(1.0), rel=0.3)


def test_every_set_counts_once_however_large() -> None:
    honest, boastful = errors(1.0, 3, count=300), errors(4.0, 3, count=300, seed=1)
    larger = NormalErrors(np.tile(boastful.components, (10, 1)), np.tile(boastful.variances, (10, 1)))
    assert fitted_correction([honest, larger]) == fitted_correction([honest, boastful])
    assert 1.0 < fitted_correction([honest, boastful]).factor < 4.0


def test_too_few_errors_are_refused() -> None:
    with pytest.raises(DataError, match="5 errors are too few"):
        fitted_correction([errors(1.0, 3, count=5), NormalErrors(np.zeros((0, 3)), np.zeros((0, 3)))])


def test_a_set_is_judged_by_the_correction_of_the_others() -> None:
    others = {name: errors(3.0, 3, seed=seed) for seed, name in enumerate("ab")}
    blocks = {
        name: {"rotation": found, "direction": errors(1.0, 2)}
        for name, found in {**others, "odd": errors(1.0, 3, seed=5)}.items()
    }
    shares = {name: found["rotation"].coverage[1] for name, found in left_out(blocks).items()}
    assert shares["odd"] > 0.95
    assert shares["a"] < 0.72


def made_up_pairs(folder: Path, count: int) -> list[DataSetPair]:
    rng = np.random.default_rng(3)
    pairs = []
    for index in range(count):
        images = []
        for view in (0, 1):
            path = folder / f"{index}_{view}.png"
            noise = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
            cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 2.0))
            images.append(DataSetImage(path, K))
        T_1_0 = Pose(so3.exp(0.2 * rng.standard_normal(3)), rng.standard_normal(3))
        pairs.append(DataSetPair((images[0], images[1]), T_1_0, metric=False))
    return pairs


def test_weights_file_carries_the_factors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IUPPose(replace(preset("small"), image_area=64 * 64))
    weights, output = tmp_path / "weights.safetensors", tmp_path / "calibrated.safetensors"
    save_checkpoint(
        network, CheckpointInfo(network.config, (64, 64), Temperatures(0.5, 3.0), "none"), weights
    )
    before, after = calibrated_weights(weights, {"made_up": made_up_pairs(tmp_path, 12)}, output)
    temperatures = load_checkpoint(output)[1].temperatures

    def misfit(report, block: str) -> float:
        coverage = report.pooled("iup_pose").coverage[block]
        return sum(abs(coverage[k] - nominal) for k, nominal in (("1", 0.683), ("2", 0.954)))

    for block in ("rotation", "direction"):
        assert misfit(after, block) < misfit(before, block)
    assert temperatures.rotation != 0.5
    assert temperatures.direction != 3.0
    assert load_checkpoint(output)[1].track_temperatures != Temperatures()
    assert load_checkpoint(weights)[1].temperatures == Temperatures(0.5, 3.0)
    assert load_checkpoint(weights)[1].track_temperatures == Temperatures()

"""The sigma calibration corrects a known over-confidence and is stored in the weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import NormalErrors
from iup_pose_ros.evaluation.pairs.fit_sigma_calibration import (
    FLOORS,
    calibrate_weights,
    fit_factor,
    fit_sigma_calibration,
    leave_one_out,
)
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, load_checkpoint, save_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.iup_pose import IUPPose

K = np.array([[60.0, 0.0, 39.5], [0.0, 60.0, 31.5], [0.0, 0.0, 1.0]])


def errors(overconfidence: float, dof: int, count: int = 2000, seed: int = 0) -> NormalErrors:
    """Return errors whose reported sigmas are too small by a factor."""
    rng = np.random.default_rng(seed)
    sigma = np.radians(rng.uniform(0.1, 3.0, (count, dof)))
    return NormalErrors(overconfidence * sigma * rng.standard_normal((count, dof)), sigma**2)


@pytest.mark.parametrize("dof", [2, 3])
@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 5.0])
def test_factor_is_the_overconfidence(overconfidence: float, dof: int) -> None:
    assert fit_factor([errors(overconfidence, dof)], floor=0.0) == pytest.approx(overconfidence, rel=0.08)


def test_all_sets_have_equal_weight() -> None:
    sets = [errors(overconfidence, 3, count=300, seed=seed) for seed, overconfidence in enumerate((1, 1, 4))]
    larger = NormalErrors(np.tile(sets[0].components, (10, 1)), np.tile(sets[0].variances, (10, 1)))
    assert fit_factor([larger, *sets[1:]], floor=0.0) == fit_factor(sets, floor=0.0)
    assert fit_factor(sets, floor=0.0) > 2.0  # over-confidence costs more


def test_the_calibration_contains_the_floors() -> None:
    found = fit_sigma_calibration({"set": {"rotation": errors(1.0, 3), "direction": errors(1.0, 2)}})
    assert (found.rotation_floor, found.direction_floor) == (FLOORS["rotation"], FLOORS["direction"])
    assert found.rotation == pytest.approx(1.0, rel=0.08)
    assert found.direction == pytest.approx(1.0, rel=0.08)


def test_too_few_errors_are_refused() -> None:
    with pytest.raises(DataError, match="5 errors are too few"):
        fit_factor([errors(1.0, 3, count=5), NormalErrors(np.zeros((0, 3)), np.zeros((0, 3)))], floor=0.0)


def test_leave_one_out_calibrates_each_set_on_the_others() -> None:
    others = {name: errors(3.0, 3, seed=seed) for seed, name in enumerate("ab")}
    blocks = {
        name: {"rotation": found, "direction": errors(1.0, 2)}
        for name, found in {**others, "odd": errors(1.0, 3, seed=5)}.items()
    }
    shares = {name: found["rotation"].coverage[1] for name, found in leave_one_out(blocks).items()}
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


@pytest.mark.slow
def test_the_weights_file_contains_the_fitted_factors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IUPPose(replace(preset("small"), image_area=64 * 64))
    weights, output = tmp_path / "weights.safetensors", tmp_path / "calibrated.safetensors"
    save_checkpoint(
        network, CheckpointInfo(network.config, (64, 64), SigmaCalibration(0.5, 3.0), "none"), weights
    )
    before, after = calibrate_weights(weights, {"made_up": made_up_pairs(tmp_path, 12)}, output)
    calibration = load_checkpoint(output)[1].network_calibration

    def misfit(report, block: str) -> float:
        coverage = report.pooled("iup_pose").coverage[block]
        return sum(abs(coverage[k] - nominal) for k, nominal in (("1", 0.683), ("2", 0.954)))

    for block in ("rotation", "direction"):
        assert misfit(after, block) < misfit(before, block)
    assert calibration.rotation != 0.5
    assert calibration.direction != 3.0
    assert load_checkpoint(output)[1].hybrid_calibration != SigmaCalibration()
    assert load_checkpoint(weights)[1].network_calibration == SigmaCalibration(0.5, 3.0)
    assert load_checkpoint(weights)[1].hybrid_calibration == SigmaCalibration()

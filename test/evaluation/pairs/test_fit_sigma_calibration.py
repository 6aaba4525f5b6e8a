"""The sigma calibration corrects a known over-confidence and is stored in the weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from iup_pose_ros.datasets.image_pair import DataSetImage, DataSetPair
from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation.metrics.consistency import NormalErrors
from iup_pose_ros.evaluation.pairs.calibrate_weights import calibrate_weights
from iup_pose_ros.evaluation.pairs.fit_sigma_calibration import (
    FLOORS,
    fit_factor,
    fit_sigma_calibration,
    leave_one_out,
    set_errors,
)
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, load_checkpoint, save_checkpoint
from iup_pose_ros.model.config import preset
from iup_pose_ros.model.iup_pose import IUPPose

K = np.array([[130.0, 0.0, 79.5], [0.0, 130.0, 59.5], [0.0, 0.0, 1.0]])


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


def plane_pairs(folder: Path, count: int, seed: int) -> list[DataSetPair]:
    """Pairs of a textured plane about four units away that the camera moves half a unit beside."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    pairs = []
    for index in range(count):
        noise = rng.integers(0, 256, (120, 160), dtype=np.uint8)
        texture = cv2.equalizeHist(cv2.GaussianBlur(noise, (0, 0), 1.5))
        step = rng.standard_normal(3)
        T_1_0 = Pose(so3.exp(0.03 * rng.standard_normal(3)), 0.4 * step / np.linalg.norm(step))
        plane = np.array([0.05, -0.1, 0.25])  # plane . point = 1
        homography = K @ (T_1_0.rotation + np.outer(T_1_0.translation, plane)) @ np.linalg.inv(K)
        images = []
        for view, image in enumerate((texture, cv2.warpPerspective(texture, homography, (160, 120)))):
            path = folder / f"{index}_{view}.png"
            cv2.imwrite(str(path), image)
            images.append(DataSetImage(path, K))
        pairs.append(DataSetPair((images[0], images[1]), T_1_0, metric=False))
    return pairs


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = IUPPose(replace(preset("small_grid"), image_area=64 * 64))
    path = tmp_path / "weights.safetensors"
    save_checkpoint(
        network, CheckpointInfo(network.config, (64, 64), SigmaCalibration(0.5, 3.0), "none"), path
    )
    return path


@pytest.mark.slow
def test_the_weights_file_contains_what_was_fitted(weights: Path, tmp_path: Path) -> None:
    output, console = tmp_path / "calibrated.safetensors", Console(quiet=True)
    sets = {name: plane_pairs(tmp_path / name, 9, seed) for seed, name in enumerate(("first", "second"))}
    report = calibrate_weights(weights, sets, output, console)
    found = load_checkpoint(output)[1]
    assert found.network_calibration == fit_sigma_calibration(set_errors(report, "iup_pose"))
    assert found.hybrid_calibration == fit_sigma_calibration(set_errors(report, "hybrid"))
    assert "tracks" in found.inlier_model
    assert set(report.results) == {"iup_pose", "hybrid"}
    assert [len(results) for results in report.results["hybrid"].values()] == [9, 9]
    assert load_checkpoint(weights)[1].network_calibration == SigmaCalibration(0.5, 3.0)
    assert load_checkpoint(weights)[1].inlier_model == {}


def test_sets_of_one_scene_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two scenes are required; given: castle, castle_hard"):
        calibrate_weights(weights, {"castle": [], "castle_hard": []}, weights, Console(quiet=True))

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.checkpoint import (
    CheckpointInfo,
    SigmaCalibration,
    load_checkpoint,
    load_checkpoint_info,
    save_checkpoint,
)
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose

INLIER_MODEL = {"tracks": {"constant": -2.5, "tracks count": 0.125}, "tracks sift": {"constant": 1.0}}

Change = Callable[[dict[str, Tensor], dict[str, str]], None]


def information(model: IUPPose) -> CheckpointInfo:
    return CheckpointInfo(
        model.config,
        (320, 256),
        SigmaCalibration(1.5, 0.8, 0.01, 0.02),
        "rendered rooms, nothing else",
        hybrid_calibration=SigmaCalibration(1.1, 1.2),
        inlier_model=INLIER_MODEL,
    )


@pytest.fixture(scope="module")
def model() -> IUPPose:
    torch.manual_seed(0)
    return IUPPose(PRESETS["small_grid"]).eval()


@pytest.fixture(scope="module")
def weights(model: IUPPose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(model, information(model), path)
    return path


def altered(weights: Path, target: Path, change: Change) -> Path:
    with safe_open(str(weights), framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    change(tensors, metadata)
    save_file(tensors, str(target), metadata=metadata)
    return target


def test_weights_survive_in_half_precision(model: IUPPose, weights: Path) -> None:
    loaded, info = load_checkpoint(weights)
    expected = model.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(
            tensor, expected[name].half().to(tensor.dtype) if tensor.is_floating_point() else tensor
        )
    assert not loaded.training
    assert info.config == model.config
    assert info.network_calibration == SigmaCalibration(1.5, 0.8, 0.01, 0.02)
    assert info.hybrid_calibration == SigmaCalibration(1.1, 1.2)
    assert info.inlier_model == INLIER_MODEL
    assert info.input_size == (320, 256)
    assert info.training_data == "rendered rooms, nothing else"
    assert info.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_weights_of_earlier_versions_have_no_inlier_model(weights: Path, tmp_path: Path) -> None:
    def older(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        del metadata["inlier_model"], metadata["track_temperatures"]

    info = load_checkpoint(altered(weights, tmp_path / "older.safetensors", older))[1]
    assert info.inlier_model == {}
    assert info.hybrid_calibration == SigmaCalibration()


def test_small_fits_the_repository(weights: Path) -> None:
    assert weights.stat().st_size <= 20e6
    assert not list(weights.parent.glob("*.part"))


def set_metadata(key: str, value: str) -> Change:
    return lambda _, metadata: metadata.update({key: value})


def poison(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
    tensors["matcher.neck.lateral_8.weight"][0, 0] = torch.nan


def reshape(tensors: dict[str, Tensor], _: dict[str, str]) -> None:
    tensors["matcher.neck.lateral_8.bias"] = tensors["matcher.neck.lateral_8.bias"][:-1].contiguous()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda tensors, _: tensors.pop("matcher.neck.lateral_8.bias"),
            "lacks 1 weights.*neck.lateral_8.bias",
        ),
        (
            lambda tensors, _: tensors.update(extra=torch.zeros(1)),
            "1 weights that are not in the network, first extra",
        ),
        (reshape, r"matcher.neck.lateral_8.bias has shape \[63\]; \[64\] is required"),
        (poison, "matcher.neck.lateral_8.weight has values that are not finite"),
        (lambda _, metadata: metadata.clear(), "contains no IUP-Pose weights"),
        (set_metadata("format_version", "7"), "format version 7; supported is 1"),
        (set_metadata("config", "{"), "invalid metadata"),
        (set_metadata("config", json.dumps({"encoder": "vgg"})), "invalid metadata"),
        (set_metadata("temperatures", '{"rotation": 0.0, "direction": 1.0}'), "must be positive"),
        (
            set_metadata("inlier_model", '{"tracks": {"constant": NaN}}'),
            "weights of the inlier model.*finite",
        ),
        (set_metadata("inlier_model", "[1.0]"), "invalid metadata"),
    ],
    ids=[
        "missing",
        "foreign",
        "shape",
        "nan",
        "other format",
        "version",
        "no json",
        "config",
        "temperature",
        "inlier weight",
        "inlier model",
    ],
)
def test_unfit_weights_are_refused_in_words(
    weights: Path, tmp_path: Path, change: Change, reason: str
) -> None:
    path = altered(weights, tmp_path / "altered.safetensors", change)
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(CheckpointError, match=re.escape(f"there is no weights file {path}")):
        load_checkpoint(path)


def test_truncated_file_is_refused(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        load_checkpoint(path)


class Trap:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (exec, ("raise RuntimeError('the pickle was run')",))


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"weight": Trap()}))
    with pytest.raises(CheckpointError, match="pickled torch files are not accepted"):
        load_checkpoint(path)


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path: Path) -> None:
    model = IUPPose(PRESETS["small_grid"])
    with torch.no_grad():
        next(model.matcher.parameters())[0] = 1e6
    path = tmp_path / "large.safetensors"
    with pytest.raises(CheckpointError, match="half precision holds at most"):
        save_checkpoint(model, information(model), path)
    assert not path.exists()


def test_sigma_calibration_scales_and_adds_a_floor() -> None:
    calibration = SigmaCalibration(2.0, 3.0, 0.3, 0.4)
    assert calibration.corrected_rotation(np.array([0.2, 0.0])) == pytest.approx([0.5, 0.3])
    assert calibration.corrected_direction(0.1) == pytest.approx(0.5)


def test_a_network_that_runs_without_decoders_can_be_stored_without_them(tmp_path: Path) -> None:
    network = IUPPose(replace(PRESETS["small"], tokens=8))
    complete = save_checkpoint(network, information(network), tmp_path / "complete.safetensors")
    assert (
        "rotation_decoder.film.embed.weight"
        in load_checkpoint(tmp_path / "complete.safetensors")[0].state_dict()
    )
    network.remove_decoders()
    assert save_checkpoint(network, complete, tmp_path / "matcher.safetensors").config == network.config
    found = load_checkpoint(tmp_path / "matcher.safetensors")[0].state_dict()
    assert found.keys() == network.state_dict().keys()
    assert all(name.startswith(("matcher.", "rotation_fusion.")) for name in found)


def test_a_network_with_decoders_cannot_be_loaded_without_them(model: IUPPose, tmp_path: Path) -> None:
    network = IUPPose(model.config)
    network.remove_decoders()
    with pytest.raises(CheckpointError, match=r"lacks .* weights of the network, first realignment"):
        save_checkpoint(network, information(model), tmp_path / "weights.safetensors")


def test_the_metadata_are_read_without_the_network(weights: Path, tmp_path: Path) -> None:
    assert load_checkpoint_info(weights) == load_checkpoint(weights)[1]
    with pytest.raises(CheckpointError, match="there is no weights file"):
        load_checkpoint_info(tmp_path / "none.safetensors")

"""Floating-point type and size of the network's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from two_view_scenes import noise_frame

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.network import iup_pose_estimator
from iup_pose_ros.estimators.network.iup_pose_estimator import (
    IUPPoseEstimator,
    choose_precision,
    image_tensor,
)
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, save_checkpoint
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose


def describe_cpu(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the description of this machine's CPU."""
    description = folder / "cpuinfo"
    description.write_text(f"model name : Some CPU\nflags : fpu {flags}\n")
    monkeypatch.setattr(iup_pose_estimator, "_CPU_DESCRIPTION", description)


@pytest.mark.parametrize("flags", ["avx512f avx512_bf16", "amx_bf16 amx_int8", "asimd bf16"])
def test_bfloat16_is_accepted_on_cpus_that_compute_it(flags, tmp_path, monkeypatch) -> None:
    describe_cpu(flags, tmp_path, monkeypatch)
    assert choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_bfloat16_is_refused_on_cpus_that_emulate_it(tmp_path, monkeypatch) -> None:
    describe_cpu("avx2 avx512f", tmp_path, monkeypatch)
    with pytest.raises(ConfigurationError, match=r"bfloat16 instructions .* lacks"):
        choose_precision("bfloat16", torch.device("cpu"))
    assert choose_precision("bfloat16", torch.device("cuda")) == torch.bfloat16
    assert choose_precision("float32", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [
        ("avx512_bf16 amx_bf16", "cpu", torch.bfloat16),
        ("avx512f avx512_bf16", "cpu", torch.float32),
        ("asimd bf16", "cpu", torch.float32),
        ("amx_bf16", "cuda", torch.float32),
    ],
)
def test_automatic_precision_is_bfloat16_on_cpus_with_amx(
    flags, device, expected, tmp_path, monkeypatch
) -> None:
    describe_cpu(flags, tmp_path, monkeypatch)
    assert choose_precision("auto", torch.device(device)) == expected


def test_automatic_precision_without_description_of_the_cpu_is_float32(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(iup_pose_estimator, "_CPU_DESCRIPTION", tmp_path / "none")
    assert choose_precision("auto", torch.device("cpu")) == torch.float32


def test_info_names_the_precision_that_was_chosen(network, tmp_path, monkeypatch) -> None:
    describe_cpu("amx_bf16", tmp_path, monkeypatch)
    assert IUPPoseEstimator(network, device="cpu", precision="auto").info.precision == "bfloat16"
    describe_cpu("avx2", tmp_path, monkeypatch)
    assert IUPPoseEstimator(network, device="cpu", precision="auto").info.precision == "float32"


def test_places_of_keypoints_are_not_rounded_to_bfloat16(tmp_path, monkeypatch) -> None:
    describe_cpu("amx_bf16", tmp_path, monkeypatch)
    estimator = IUPPoseEstimator.from_options(NetworkOptions(device="cpu", image_area=160 * 128))
    view = noise_frame(0)
    K = torch.from_numpy(view.intrinsics.resized(160, 128).matrix).float()[None]
    with torch.inference_mode(), estimator.autocast():
        features = estimator.model.matcher.encode(image_tensor(view.image, (160, 128)), K)
    assert features.pixels.dtype == features.rays.dtype == torch.float32
    assert (features.pixels.bfloat16() != features.pixels).float().mean() > 0.5


def test_options_choose_precision_and_size_of_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.safetensors"
    describe_cpu("avx512_bf16", tmp_path, monkeypatch)
    torch.manual_seed(0)
    # From identity: what the matches of an untrained network agree on jumps with every rounding error.
    network = IUPPose(replace(PRESETS["small_grid"], initial_pose="identity"))
    save_checkpoint(network, CheckpointInfo(network.config, (320, 256), SigmaCalibration(), "none"), path)
    options = NetworkOptions(path, "cpu", precision="bfloat16", image_area=128 * 96)
    prediction = IUPPoseEstimator.from_options(options).predict(noise_frame(0), noise_frame(1))
    assert prediction.correspondence.view_0.own.shape[-2:] == (12, 16)
    exact = IUPPoseEstimator.from_options(replace(options, precision="float32")).predict(
        noise_frame(0), noise_frame(1)
    )
    assert not torch.equal(prediction.R_1_0, exact.R_1_0)
    assert torch.allclose(prediction.R_1_0, exact.R_1_0, atol=0.05)
    with pytest.raises(ConfigurationError, match="float16 requires a CUDA device"):
        IUPPoseEstimator.from_options(replace(options, precision="float16"))
    with pytest.raises(ConfigurationError, match="'half'; accepted: auto, float32"):
        NetworkOptions(precision="half")
    with pytest.raises(ConfigurationError, match="the minimum is 4096"):
        NetworkOptions(image_area=100)

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from iup_pose_ros import info as info_module
from iup_pose_ros.info import collect_info, describe_preset, print_info
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, save_checkpoint
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose

# Operations are counted by running the networks: on small images here.
SMALL = {name: replace(config, image_area=256 * 192, tokens=80) for name, config in PRESETS.items()}


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder: Path = tmp_path_factory.mktemp("weights")
    model = IUPPose(PRESETS["small"])
    save_checkpoint(
        model,
        CheckpointInfo(model.config, (320, 256), SigmaCalibration(), "none"),
        folder / "good.safetensors",
    )
    (folder / "bad.safetensors").write_bytes(b"no weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(info_module, "PRESETS", SMALL)
        return collect_info(folder)


def test_information_is_ready_for_json_and_has_the_documented_shape(info: dict) -> None:
    assert json.loads(json.dumps(info)) == info
    assert info["presets"].keys() == PRESETS.keys()
    for description in info["presets"].values():
        modules = description["modules"].values()
        assert sum(module["parameters"] for module in modules) == description["parameters"]
        multiply_adds = sum(module["multiply_adds"] for module in modules)
        assert multiply_adds == pytest.approx(description["multiply_adds"], rel=1e-6)
    assert {"python", "torch", "roma"} <= info["versions"].keys()
    assert "cpu" in info["devices"]


def test_multiply_adds_of_the_encoder_are_those_of_its_convolutions() -> None:
    """MobileNetV2 as published needs 300.8 M at 224 x 224; here without its end, 5 channels, two views."""
    description = describe_preset(SMALL["small_grid"])
    width, height = description["input_size"]
    stem_extra = 2 * 9 * 32 * (width // 2) * (height // 2)
    last_convolution, classifier = 320 * 1280 * 49, 1280 * 1000
    expected = (300.8e6 - last_convolution - classifier) * width * height / 224**2 + stem_extra
    assert description["modules"]["encoder"]["multiply_adds"] == pytest.approx(2 * expected, rel=0.01)


def test_weights_are_listed_with_their_hash_or_what_is_wrong(info: dict) -> None:
    assert len(info["weights"]["good"]["sha256"]) == 64
    assert "not a valid safetensors file" in info["weights"]["bad"]["error"]


def test_tables_name_every_module_and_file(info: dict) -> None:
    text = io.StringIO()
    print_info(info, Console(file=text, width=120))
    for word in ("small", "base", "translation_decoder", "good.safetensors", "bad.safetensors", "torch"):
        assert word in text.getvalue()

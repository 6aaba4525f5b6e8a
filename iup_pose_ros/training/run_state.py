"""Checkpoints: the complete state of a run in one safetensors file, written atomically.

They need no state of random generators, because random numbers depend only on the seed of the run, the step
and the process.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from iup_pose_ros.errors import CheckpointError

FORMAT = "iup_pose_training"
_OPTIMIZER = "optimiser"  # prefix of the optimizer's tensors in the file, unchanged for older checkpoints
_NAME = re.compile(r"checkpoint_(\d{9})\.safetensors")


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: number of completed steps.
        batches: number of batches used by all processes, and index of the next batch.
        pairs: number of pairs used by all processes.
        network: configuration of the network, see ``IUPPoseConfig.to_dict``.
    """

    step: int
    batches: int
    pairs: int
    network: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class TrainState:
    """State that training changes: the network, the moving average of its weights, and the optimizer."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, newest last."""
    return sorted(path for path in folder.glob("checkpoint_*") if _NAME.fullmatch(path.name))


def save_state(state: TrainState, progress: Progress, folder: Path, keep: int) -> Path:
    """Write a checkpoint and remove all but the ``keep`` newest ones.

    The file is renamed after it was written and flushed, so that a crash leaves no incomplete checkpoint.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = folder / f"checkpoint_{progress.step:09d}.safetensors"
    temporary = folder / "checkpoint.part"
    metadata = {"format": FORMAT, "progress": json.dumps(vars(progress))}
    tensors = {}
    for part in ("network", "average"):
        for name, tensor in getattr(state, part).state_dict().items():
            tensors[f"{part}.{name}"] = tensor.contiguous()
    for index, moments in state.optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"{_OPTIMIZER}.{index}.{name}"] = tensor.contiguous()
    try:
        save_file(tensors, temporary, metadata=metadata)
        _flush(temporary)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    os.replace(temporary, path)
    _flush(folder)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_state(state: TrainState, path: Path) -> Progress:
    """Restore the state of a run from a checkpoint and return its progress.

    Raises:
        CheckpointError: the file is damaged or belongs to another network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid checkpoint: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of a training run")
    try:
        for part in ("network", "average"):
            getattr(state, part).load_state_dict(_below(tensors, f"{part}."))
        # Moments of the optimizer; the settings of its groups come from the configuration.
        moments_by_index: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, f"{_OPTIMIZER}.").items():
            index, moment = name.split(".")
            moments_by_index.setdefault(int(index), {})[moment] = tensor
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": moments_by_index, "param_groups": groups})
        for parameter, moments in state.optimizer.state.items():
            for name, tensor in moments.items():
                if tensor.shape == parameter.shape:  # use the memory layout of the parameter, which is faster
                    moments[name] = torch.empty_like(parameter).copy_(tensor)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} belongs to another network: {error}") from error
    return Progress(**json.loads(metadata["progress"]))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without the prefix."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _flush(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The whole state of a run in one safetensors file, written so that a crash at any moment loses nothing.

Random numbers need no place in it: those of a step depend on the seed, the step and the process only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from iup_pose_ros.errors import CheckpointError

FORMAT = "iup_pose_training"
_NAME = re.compile(r"checkpoint_(\d{9})\.safetensors")


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: steps done.
        batches: batches of the source used by all processes; the next one is batch ``batches``.
        pairs: pairs trained on by all processes.
        network: configuration of the network, as ``IUPPoseConfig.to_dict``.
    """

    step: int
    batches: int
    pairs: int
    network: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Trainee:
    """What training changes: the network, the average of its weights, the optimiser's moments."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last."""
    return sorted(path for path in folder.glob("checkpoint_*") if _NAME.fullmatch(path.name))


def save_state(trainee: Trainee, progress: Progress, folder: Path, keep: int) -> Path:
    """Write a checkpoint and remove all but the ``keep`` newest.

    It gets its name only when it is on the disk entirely, so that what bears the name is whole.

    Raises:
        CheckpointError: it cannot be written.
    """
    path = folder / f"checkpoint_{progress.step:09d}.safetensors"
    temporary = folder / "checkpoint.part"
    metadata = {"format": FORMAT, "progress": json.dumps(vars(progress))}
    tensors = {name: tensor.contiguous() for name, tensor in _tensors(trainee)}
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


def load_state(trainee: Trainee, path: Path) -> Progress:
    """Put a run into the state of a checkpoint.

    Raises:
        CheckpointError: the file is damaged, or of another network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not an undamaged checkpoint: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of a training run")
    try:
        for part in ("network", "average"):
            getattr(trainee, part).load_state_dict(_below(tensors, f"{part}."))
        _load_moments(trainee.optimiser, _below(tensors, "optimiser."))
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is of another network: {error}") from error
    return Progress(**json.loads(metadata["progress"]))


def _tensors(trainee: Trainee) -> Iterator[tuple[str, Tensor]]:
    for part in ("network", "average"):
        for name, tensor in getattr(trainee, part).state_dict().items():
            yield f"{part}.{name}", tensor
    for index, moments in trainee.optimiser.state_dict()["state"].items():
        for name, tensor in moments.items():
            yield f"optimiser.{index}.{name}", tensor


def _load_moments(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The groups' settings come from the configuration, the moments from the file."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, moment = name.split(".")
        state.setdefault(int(index), {})[moment] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    for parameter, moments in optimiser.state.items():
        for name, tensor in moments.items():
            if tensor.shape == parameter.shape:  # in the parameter's memory layout, as fast as before
                moments[name] = torch.empty_like(parameter).copy_(tensor)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

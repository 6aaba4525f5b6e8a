"""What `iup-pose info` shows: the network's sizes, the weights on disk, devices and versions."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from iup_pose_ros.errors import CheckpointError
from iup_pose_ros.estimators.network.iup_pose_estimator import network_size
from iup_pose_ros.model.checkpoint import load_checkpoint
from iup_pose_ros.model.config import PRESETS, IUPPoseConfig
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.weights import SHIPPED_WEIGHTS

WEIGHTS_FOLDER = SHIPPED_WEIGHTS.parent
LIBRARIES = ("iup_pose_ros", "torch", "numpy", "opencv-python-headless", "poselib", "roma", "safetensors")


def collect_info(weights_folder: Path = WEIGHTS_FOLDER) -> dict[str, Any]:
    """Sizes of every preset, weights with their hashes, devices and versions, ready for JSON."""
    weights = sorted(weights_folder.glob("*.safetensors"))
    return {
        "presets": {name: describe_preset(config) for name, config in PRESETS.items()},
        "weights": {path.stem: describe_weights(path) for path in weights},
        "devices": describe_devices(),
        "versions": describe_versions(),
    }


def describe_preset(config: IUPPoseConfig) -> dict[str, Any]:
    """Parameters and multiply-adds of the network and of each of its modules.

    Multiply-adds are those of convolutions, linear layers and attention for one pair of 4:3 images, both
    views encoded; with a kept keyframe the encoder and the neck count half.
    """
    width, height = network_size(640, 480, config.image_area)
    model = IUPPose(config).eval()
    image, K = torch.zeros(1, 3, height, width), torch.eye(3)[None]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image, K, image, K)
    counts = {name: sum(operations.values()) // 2 for name, operations in counter.get_flop_counts().items()}
    root = type(model).__name__
    parts = {f"matcher.{name}": module for name, module in model.matcher.named_children()}
    parts.update((name, module) for name, module in model.named_children() if name != "matcher")
    modules = {
        name.removeprefix("matcher."): {
            "parameters": count_parameters(module),
            "multiply_adds": counts.get(f"{root}.{name}", 0),
        }
        for name, module in parts.items()
    }
    counted = sum(module["multiply_adds"] for module in modules.values())
    modules["pose_solver"] = {"parameters": 0, "multiply_adds": counts["Global"] - counted}
    return {
        "parameters": count_parameters(model),
        "multiply_adds": counts["Global"],
        "input_size": [width, height],
        "modules": modules,
    }


def count_parameters(module: nn.Module) -> int:
    """Number of trained values of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def describe_weights(path: Path) -> dict[str, Any]:
    """What a weights file says of itself, or why it is refused."""
    description: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size}
    try:
        _, info = load_checkpoint(path)
    except CheckpointError as error:
        return {**description, "error": str(error)}
    return {
        **description,
        "sha256": info.sha256,
        "input_size": list(info.input_size),
        "temperatures": vars(info.temperatures),
        "track_temperatures": vars(info.track_temperatures),
        "training_data": info.training_data,
    }


def describe_devices() -> dict[str, str]:
    """Names of the devices the network can run on."""
    cuda = {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    return {"cpu": f"{platform.machine()}, {torch.get_num_threads()} threads", **cuda}


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide results; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


def print_info(info: dict[str, Any], console: Console) -> None:
    """The tables of ``collect_info`` on a console."""
    for name, description in info["presets"].items():
        console.print(_preset_table(name, description))
    weights = Table("weights", "SHA-256 or reason", title="Weights")
    for description in info["weights"].values():
        weights.add_row(description["file"], description.get("sha256", description.get("error", "")))
    console.print(weights if info["weights"] else "Weights: none installed")
    for title in ("devices", "versions"):
        table = Table("name", "value", title=title.capitalize())
        for name, value in info[title].items():
            table.add_row(name, value)
        console.print(table)


def _preset_table(name: str, description: dict[str, Any]) -> Table:
    width, height = description["input_size"]
    title = f"Network {name}, a pair of {width}x{height} images"
    table = Table("module", "parameters", "multiply-adds", title=title)
    rows = {**description["modules"], "total": description}
    for module, counts in rows.items():
        parameters, multiply_adds = counts["parameters"] / 1e6, counts["multiply_adds"] / 1e9
        table.add_row(module, f"{parameters:.3f} M", f"{multiply_adds:.3f} G")
    return table

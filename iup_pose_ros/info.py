"""The contents of `iup-pose info`: network sizes, installed weights, devices and versions."""

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
    """Return presets, weights, devices and versions as a JSON-serialisable dictionary.

    Args:
        weights_folder: folder with the *.safetensors files to describe.
    """
    weights = sorted(weights_folder.glob("*.safetensors"))
    return {
        "presets": {name: describe_preset(config) for name, config in PRESETS.items()},
        "weights": {path.stem: describe_weights(path) for path in weights},
        "devices": describe_devices(),
        "versions": describe_versions(),
    }


def describe_preset(config: IUPPoseConfig) -> dict[str, Any]:
    """Count parameters and multiply-adds of the network and of each of its modules.

    Multiply-adds include convolutions, linear layers and attention for one pair of 4:3 images of which both
    are encoded. If the features of the keyframe are cached, encoder and neck cost half.
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
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def describe_weights(path: Path) -> dict[str, Any]:
    """Return the metadata of a weights file, or under ``error`` why it cannot be loaded."""
    description: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size}
    try:
        _, info = load_checkpoint(path)
    except CheckpointError as error:
        return {**description, "error": str(error)}
    return {
        **description,
        "sha256": info.sha256,
        "input_size": list(info.input_size),
        "temperatures": vars(info.network_calibration),
        "track_temperatures": vars(info.hybrid_calibration),
        "training_data": info.training_data,
    }


def describe_devices() -> dict[str, str]:
    """Return the devices that the network can run on: torch device to hardware name."""
    cuda = {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    return {"cpu": f"{platform.machine()}, {torch.get_num_threads()} threads", **cuda}


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the numerical libraries that are installed."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return versions


def print_info(info: dict[str, Any], console: Console) -> None:
    """Print the dictionary of ``collect_info`` as tables."""
    for name, preset in info["presets"].items():
        width, height = preset["input_size"]
        title = f"Network {name}, pair of {width}x{height} images"
        table = Table("module", "parameters", "multiply-adds", title=title)
        for module, counts in {**preset["modules"], "total": preset}.items():
            parameters, multiply_adds = counts["parameters"] / 1e6, counts["multiply_adds"] / 1e9
            table.add_row(module, f"{parameters:.3f} M", f"{multiply_adds:.3f} G")
        console.print(table)
    weights = Table("weights", "SHA-256 or error", title="Weights")
    for description in info["weights"].values():
        weights.add_row(description["file"], description.get("sha256", description.get("error", "")))
    console.print(weights if info["weights"] else "Weights: none installed")
    for title in ("devices", "versions"):
        table = Table("name", "value", title=title.capitalize())
        for name, value in info[title].items():
            table.add_row(name, value)
        console.print(table)

"""Weights files: safetensors, with all that using them needs in the metadata. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from iup_pose_ros.atomic import atomic_file
from iup_pose_ros.errors import CheckpointError, ConfigurationError
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.model.config import IUPPoseConfig
from iup_pose_ros.model.iup_pose import IUPPose

FORMAT = "iup_pose"
FORMAT_VERSION = "1"
MATCHER_PARTS = ("encoder", "neck", "alignment", "correspondence", "refinement")
"""Modules whose names in files of earlier versions lack the prefix ``matcher.``."""
HALF_PRECISION_MAXIMUM = float(torch.finfo(torch.float16).max)


@dataclass(frozen=True)
class SigmaCalibration:
    """Correction of predicted standard deviations, fitted on held-out data; by default there is none.

    Attributes:
        rotation, direction: factors.
        rotation_floor, direction_floor: radians, added in quadrature: what no match shows, such as errors of
            a camera's calibration.
    """

    rotation: float = 1.0
    direction: float = 1.0
    rotation_floor: float = 0.0
    direction_floor: float = 0.0

    def corrected_rotation(self, sigma: Array) -> Array:
        """Standard deviations of rotation (...), radians."""
        return np.asarray(np.hypot(self.rotation * sigma, self.rotation_floor))

    def corrected_direction(self, sigma: float) -> float:
        """Standard deviation of direction, radians."""
        return math.hypot(self.direction * sigma, self.direction_floor)


@dataclass(frozen=True)
class CheckpointInfo:
    """What a weights file says of itself.

    Attributes:
        config: of the network; carries the normalisation (pixel mean and deviation) and the image area.
        input_size: width and height the weights were finished at, pixels.
        temperatures: calibration of sigma_R and sigma_t.
        training_data: statement of what the weights were trained on.
        sha256: hexadecimal digest of the file, empty before it is written.
        track_temperatures: calibration of the hybrid estimator's poses.
        inlier_model: weights of the hybrid estimator's ``InlierModel``.
    """

    config: IUPPoseConfig
    input_size: tuple[int, int]
    temperatures: SigmaCalibration
    training_data: str
    sha256: str = ""
    track_temperatures: SigmaCalibration = SigmaCalibration()
    inlier_model: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def save_checkpoint(model: IUPPose, info: CheckpointInfo, path: Path) -> CheckpointInfo:
    """Write weights in half precision, atomically; returns the information with the file's digest.

    Raises:
        CheckpointError: a weight is not finite, or does not fit half precision.
    """
    tensors = {name: _halved(name, tensor) for name, tensor in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(model.config.to_dict()),
        "input_size": json.dumps(info.input_size),
        "temperatures": json.dumps(vars(info.temperatures)),
        "track_temperatures": json.dumps(vars(info.track_temperatures)),
        "inlier_model": json.dumps(info.inlier_model),
        "training_data": info.training_data,
    }
    with atomic_file(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)
    return load_checkpoint(path)[1]


def load_checkpoint(path: Path | str, device: torch.device | str = "cpu") -> tuple[IUPPose, CheckpointInfo]:
    """The network of a weights file, in single precision and evaluation mode, and the file's information.

    Raises:
        CheckpointError: the file is missing, not an undamaged safetensors file of this package, or its
            tensors' names, shapes or values do not fit the network that its configuration describes.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}")
    metadata, tensors = _read(path)
    info = _parse_metadata(path, metadata)
    model = IUPPose(info.config)
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.to(device).eval(), info


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.cpu().contiguous()
    largest = float(tensor.detach().abs().amax())
    if not largest <= HALF_PRECISION_MAXIMUM:
        raise CheckpointError(f"weight {name} reaches {largest}, which half precision cannot hold")
    return tensor.detach().to("cpu", torch.float16).contiguous()


def _read(path: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {_present_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not an undamaged safetensors file ({error}); pickled torch files are not accepted"
        ) from error


def _present_name(name: str) -> str:
    return f"matcher.{name}" if name.split(".")[0] in MATCHER_PARTS else name


def _parse_metadata(path: Path, metadata: Mapping[str, str]) -> CheckpointInfo:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} holds no IUP-Pose weights: its metadata names no format {FORMAT!r}")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format version {version}; this package reads {FORMAT_VERSION}")
    try:
        width, height = json.loads(metadata["input_size"])
        return CheckpointInfo(
            config=IUPPoseConfig.from_dict(json.loads(metadata["config"])),
            input_size=(int(width), int(height)),
            temperatures=_parse_temperatures(json.loads(metadata["temperatures"])),
            training_data=metadata["training_data"],
            sha256=file_digest(path),
            track_temperatures=_parse_temperatures(json.loads(metadata.get("track_temperatures", "{}"))),
            inlier_model=_parse_inlier_model(json.loads(metadata.get("inlier_model", "{}"))),
        )
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise CheckpointError(f"{path} has damaged metadata: {error}") from error


def _parse_temperatures(values: Mapping[str, Any]) -> SigmaCalibration:
    temperatures = SigmaCalibration(**values)
    floors = (temperatures.rotation_floor, temperatures.direction_floor)
    if not (temperatures.rotation > 0.0 and temperatures.direction > 0.0 and min(floors) >= 0.0):
        raise ValueError(f"factors of {temperatures} must be positive, floors not negative")
    return temperatures


def _parse_inlier_model(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    model = {
        kinds: {name: float(weight) for name, weight in dict(weights).items()}
        for kinds, weights in dict(values).items()
    }
    if not all(math.isfinite(weight) for weights in model.values() for weight in weights.values()):
        raise ValueError("weights of the inlier model must be finite")
    return model


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, foreign = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} weights of the network, first {missing[0]}")
    if foreign:
        raise CheckpointError(f"{path} holds {len(foreign)} weights the network has not, first {foreign[0]}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: weight {name} is {list(tensor.shape)}; {list(expected[name].shape)} is needed"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: weight {name} holds values that are not finite")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

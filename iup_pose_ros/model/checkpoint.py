"""Weights files in the safetensors format, with configuration and calibration as metadata. No pickles."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from iup_pose_ros.model.iup_pose import DECODERS, IUPPose

FORMAT = "iup_pose"
FORMAT_VERSION = "1"
MATCHER_PARTS = ("encoder", "neck", "alignment", "correspondence", "refinement")
"""Modules whose names lack the prefix ``matcher.`` in files of earlier versions."""
HALF_PRECISION_MAXIMUM = float(torch.finfo(torch.float16).max)


@dataclass(frozen=True)
class SigmaCalibration:
    """Calibration of estimated standard deviations, fitted on held-out data; the default changes nothing.

    Attributes:
        rotation, direction: factors.
        rotation_floor, direction_floor: radians, added in quadrature for errors that do not show in the
            residuals of matches, such as those of the camera calibration.
    """

    rotation: float = 1.0
    direction: float = 1.0
    rotation_floor: float = 0.0
    direction_floor: float = 0.0

    def corrected_rotation(self, sigma: Array) -> Array:
        """Return calibrated standard deviations (...) of the rotation, radians."""
        return np.asarray(np.hypot(self.rotation * sigma, self.rotation_floor))

    def corrected_direction(self, sigma: float) -> float:
        """Return the calibrated standard deviation of the direction, radians."""
        return math.hypot(self.direction * sigma, self.direction_floor)


@dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a weights file.

    Attributes:
        config: configuration of the network, including the pixel normalisation and the image area.
        input_size: width and height of the images at the end of training, pixels.
        network_calibration: sigma calibration of the estimator ``iup_pose``; ``temperatures`` in the file.
        training_data: description of the training data.
        sha256: hexadecimal digest of the file; empty before it is written.
        hybrid_calibration: sigma calibration of the estimator ``hybrid``; ``track_temperatures`` in the file.
        inlier_model: weights of the hybrid estimator's ``InlierModel``.
    """

    config: IUPPoseConfig
    input_size: tuple[int, int]
    network_calibration: SigmaCalibration
    training_data: str
    sha256: str = ""
    hybrid_calibration: SigmaCalibration = SigmaCalibration()
    inlier_model: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def save_checkpoint(model: IUPPose, info: CheckpointInfo, path: Path) -> CheckpointInfo:
    """Write weights in half precision, atomically, and return the metadata with the digest of the file.

    Raises:
        CheckpointError: a weight is not finite, or too large for half precision.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            maximum = float(tensor.abs().amax())
            if not maximum <= HALF_PRECISION_MAXIMUM:
                raise CheckpointError(
                    f"weight {name} has magnitude {maximum}; "
                    f"half precision holds at most {HALF_PRECISION_MAXIMUM}"
                )
            tensor = tensor.to(torch.float16)
        tensors[name] = tensor.cpu().contiguous()
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(model.config.to_dict()),
        "input_size": json.dumps(info.input_size),
        "temperatures": json.dumps(vars(info.network_calibration)),
        "track_temperatures": json.dumps(vars(info.hybrid_calibration)),
        "inlier_model": json.dumps(info.inlier_model),
        "training_data": info.training_data,
    }
    with atomic_file(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)
    return load_checkpoint(path)[1]


def load_checkpoint(path: Path | str, device: torch.device | str = "cpu") -> tuple[IUPPose, CheckpointInfo]:
    """Load the network of a weights file, in single precision and evaluation mode, and the metadata.

    Raises:
        CheckpointError: the file is missing, damaged or not a safetensors file of this package, or the
            names, shapes or values of its tensors do not match the configured network.
    """
    path = Path(path)
    tensors = {}
    with _opened(path) as file:
        metadata = file.metadata() or {}
        for name in file.keys():  # noqa: SIM118 - not a mapping
            # Earlier versions had no prefix "matcher.".
            current_name = f"matcher.{name}" if name.split(".")[0] in MATCHER_PARTS else name
            tensors[current_name] = file.get_tensor(name)
    info = _parse_metadata(path, metadata)
    with torch.device("meta"):  # sizes without memory: the file has to hold what its configuration asks for
        expected = _network(info.config, tensors).state_dict()
    _check_tensors(path, tensors, expected)
    model = _network(info.config, tensors)
    model.load_state_dict(tensors)
    return model.to(device).eval(), info


def load_checkpoint_info(path: Path | str) -> CheckpointInfo:
    """Load the metadata of a weights file.

    Raises:
        CheckpointError: see ``load_checkpoint``; tensors are not checked.
    """
    path = Path(path)
    with _opened(path) as file:
        metadata = file.metadata() or {}
    return _parse_metadata(path, metadata)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file."""
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a valid safetensors file ({error}); pickled torch files are not accepted"
        ) from error


def _network(config: IUPPoseConfig, tensors: Mapping[str, Tensor]) -> IUPPose:
    """Create the network of a weights file; where it runs without decoders, the file may lack them."""
    network = IUPPose(config)
    if not config.decoders and not any(name.split(".")[0] in DECODERS for name in tensors):
        network.remove_decoders()
    return network


def _parse_metadata(path: Path, metadata: Mapping[str, str]) -> CheckpointInfo:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} contains no IUP-Pose weights: the format in its metadata is not {FORMAT!r}"
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format version {version}; supported is {FORMAT_VERSION}")
    try:
        width, height = json.loads(metadata["input_size"])
        inlier_model = {
            kinds: {name: float(weight) for name, weight in dict(weights).items()}
            for kinds, weights in dict(json.loads(metadata.get("inlier_model", "{}"))).items()
        }
        if not all(math.isfinite(weight) for weights in inlier_model.values() for weight in weights.values()):
            raise ValueError("weights of the inlier model must be finite")
        return CheckpointInfo(
            config=IUPPoseConfig.from_dict(json.loads(metadata["config"])),
            input_size=(int(width), int(height)),
            network_calibration=_parse_calibration(json.loads(metadata["temperatures"])),
            training_data=metadata["training_data"],
            sha256=file_digest(path),
            hybrid_calibration=_parse_calibration(json.loads(metadata.get("track_temperatures", "{}"))),
            inlier_model=inlier_model,
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, ConfigurationError) as error:
        raise CheckpointError(f"{path} has invalid metadata: {error}") from error


def _parse_calibration(values: Mapping[str, Any]) -> SigmaCalibration:
    calibration = SigmaCalibration(**values)
    floors = (calibration.rotation_floor, calibration.direction_floor)
    if not (calibration.rotation > 0.0 and calibration.direction > 0.0 and min(floors) >= 0.0):
        raise ValueError(f"factors of {calibration} must be positive, floors not negative")
    return calibration


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} weights of the network, first {missing[0]}")
    if unexpected:
        raise CheckpointError(
            f"{path} has {len(unexpected)} weights that are not in the network, first {unexpected[0]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: weight {name} has shape {list(tensor.shape)}; "
                f"{list(expected[name].shape)} is required"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: weight {name} has values that are not finite")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

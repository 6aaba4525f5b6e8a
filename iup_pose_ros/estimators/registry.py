"""Estimators by name, as parameters and command lines give them."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.network.options import NetworkOptions


def _iup_pose(options: NetworkOptions) -> RelativePoseEstimator:
    # Importing torch takes seconds that estimators without it should not cost.
    from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator

    return IUPPoseEstimator.from_options(options)


def _hybrid(options: NetworkOptions) -> RelativePoseEstimator:
    from iup_pose_ros.estimators.hybrid import HybridEstimator

    return HybridEstimator.from_options(options)


_FACTORIES: dict[str, Callable[[NetworkOptions], RelativePoseEstimator]] = {
    "iup_pose": _iup_pose,
    "hybrid": _hybrid,
    "epipolar_klt": lambda _: EpipolarEstimator(LucasKanadeFrontEnd()),
    "epipolar_sift": lambda _: EpipolarEstimator(SiftFrontEnd()),
}


def estimator_names() -> tuple[str, ...]:
    """Names that create_estimator knows."""
    return tuple(_FACTORIES)


def create_estimator(name: str, network: NetworkOptions | None = None) -> RelativePoseEstimator:
    """A new estimator with its default settings.

    Args:
        name: of the estimator.
        network: how the network runs, for the estimators that have one; defaults where None.

    Raises:
        ConfigurationError: the name is unknown, or the network cannot run as the options say.
        CheckpointError: the network's weights are missing or not acceptable.
    """
    if name not in _FACTORIES:
        nearest = difflib.get_close_matches(name, _FACTORIES, n=1, cutoff=0.0)[0]
        raise ConfigurationError(
            f"unknown estimator {name!r}; did you mean {nearest!r}? known are {', '.join(_FACTORIES)}"
        )
    return _FACTORIES[name](network or NetworkOptions())

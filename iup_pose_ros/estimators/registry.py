"""Estimators by name, as parameters and command lines give them."""

from __future__ import annotations

from collections.abc import Callable

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.validation import did_you_mean


def _iup_pose(options: NetworkOptions) -> RelativePoseEstimator:
    # Importing torch takes seconds that estimators without it should not cost.
    from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator

    return IUPPoseEstimator.from_options(options)


def _hybrid(options: NetworkOptions) -> RelativePoseEstimator:
    from iup_pose_ros.estimators.hybrid import HybridEstimator

    return HybridEstimator.from_options(options)


def _epipolar_xfeat(options: NetworkOptions) -> RelativePoseEstimator:
    from iup_pose_ros.estimators.matching.learned_features import xfeat_front_end
    from iup_pose_ros.estimators.network.iup_pose_estimator import choose_device

    return EpipolarEstimator(xfeat_front_end(choose_device(options.device)))


def _epipolar_aliked(options: NetworkOptions) -> RelativePoseEstimator:
    from iup_pose_ros.estimators.matching.learned_features import aliked_front_end
    from iup_pose_ros.estimators.network.iup_pose_estimator import choose_device

    return EpipolarEstimator(aliked_front_end(choose_device(options.device)))


_FACTORIES: dict[str, Callable[[NetworkOptions], RelativePoseEstimator]] = {
    "iup_pose": _iup_pose,
    "hybrid": _hybrid,
    "epipolar_klt": lambda _: EpipolarEstimator(LucasKanadeFrontEnd()),
    "epipolar_sift": lambda _: EpipolarEstimator(SiftFrontEnd()),
}
# Learned matchers to compare with; they need requirements/peers.txt.
_PEERS: dict[str, Callable[[NetworkOptions], RelativePoseEstimator]] = {
    "epipolar_xfeat": _epipolar_xfeat,
    "epipolar_aliked": _epipolar_aliked,
}


def estimator_names() -> tuple[str, ...]:
    """Names of the estimators that the node offers: all but the peers that they are compared with."""
    return tuple(_FACTORIES)


def create_estimator(name: str, network: NetworkOptions | None = None) -> RelativePoseEstimator:
    """A new estimator with its default settings.

    Args:
        name: of the estimator.
        network: how the network runs, for the estimators that have one; defaults where None.

    Raises:
        ConfigurationError: the name is unknown, the network cannot run as the options say, or what a peer
            needs is not installed.
        CheckpointError: the network's weights are missing or not acceptable.
    """
    factories = _FACTORIES | _PEERS
    if name not in factories:
        raise ConfigurationError(
            f"unknown estimator {name!r}; {did_you_mean(name, factories)} known are {', '.join(factories)}"
        )
    return factories[name](network or NetworkOptions())

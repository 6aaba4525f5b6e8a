"""Creation of estimators by name."""

from __future__ import annotations

from collections.abc import Callable

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.validation import did_you_mean


def _iup_pose(options: NetworkOptions) -> RelativePoseEstimator:
    # Importing torch takes seconds, which estimators without a network do not need.
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
# Learned matchers for comparison; they require requirements/peers.txt.
_PEERS: dict[str, Callable[[NetworkOptions], RelativePoseEstimator]] = {
    "epipolar_xfeat": _epipolar_xfeat,
    "epipolar_aliked": _epipolar_aliked,
}


def estimator_names() -> tuple[str, ...]:
    """Return the names of the estimators that the node offers, without those for comparison only."""
    return tuple(_FACTORIES)


def create_estimator(name: str, network: NetworkOptions | None = None) -> RelativePoseEstimator:
    """Create an estimator with its default settings.

    Args:
        name: name of the estimator.
        network: options of the network; default: ``NetworkOptions()``. Ignored by estimators without one.

    Raises:
        ConfigurationError: the name is unknown, the options are not supported by this machine, or a package
            of an estimator for comparison is not installed.
        CheckpointError: the network weights are missing or cannot be loaded.
    """
    factories = _FACTORIES | _PEERS
    if name not in factories:
        raise ConfigurationError(
            f"unknown estimator {name!r}; {did_you_mean(name, factories)} known are {', '.join(factories)}"
        )
    return factories[name](network or NetworkOptions())

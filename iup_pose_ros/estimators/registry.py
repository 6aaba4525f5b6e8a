"""Creation of estimators by name."""

from __future__ import annotations

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd, SiftFrontEnd
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.validation import did_you_mean

_NAMES = ("iup_pose", "hybrid", "epipolar_klt", "epipolar_sift")
# Learned matchers for comparison; they require requirements/peers.txt.
_PEERS = ("epipolar_xfeat", "epipolar_aliked")


def estimator_names() -> tuple[str, ...]:
    """Return the names of the estimators that the node offers, without those for comparison only."""
    return _NAMES


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
    options = network or NetworkOptions()
    if name == "epipolar_klt":
        return EpipolarEstimator(LucasKanadeFrontEnd())
    if name == "epipolar_sift":
        return EpipolarEstimator(SiftFrontEnd())
    # Importing torch takes seconds, which estimators without a network do not need.
    if name == "iup_pose":
        from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator

        return IUPPoseEstimator.from_options(options)
    if name == "hybrid":
        from iup_pose_ros.estimators.hybrid import HybridEstimator

        return HybridEstimator.from_options(options)
    if name in _PEERS:
        from iup_pose_ros.estimators.matching.learned_features import aliked_front_end, xfeat_front_end
        from iup_pose_ros.estimators.network.iup_pose_estimator import choose_device

        front_end = xfeat_front_end if name == "epipolar_xfeat" else aliked_front_end
        return EpipolarEstimator(front_end(choose_device(options.device)))
    known = _NAMES + _PEERS
    raise ConfigurationError(
        f"unknown estimator {name!r}; {did_you_mean(name, known)} known are {', '.join(known)}"
    )

"""Estimators by name, as parameters and command lines give them."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.epipolar import EpipolarEstimator
from iup_pose_ros.estimators.features import LucasKanadeFrontEnd, SiftFrontEnd

_FACTORIES: dict[str, Callable[[], RelativePoseEstimator]] = {
    "epipolar_klt": lambda: EpipolarEstimator(LucasKanadeFrontEnd()),
    "epipolar_sift": lambda: EpipolarEstimator(SiftFrontEnd()),
}


def estimator_names() -> tuple[str, ...]:
    """Names that create_estimator knows."""
    return tuple(_FACTORIES)


def create_estimator(name: str) -> RelativePoseEstimator:
    """A new estimator with its default settings.

    Raises:
        ConfigurationError: the name is unknown.
    """
    if name not in _FACTORIES:
        nearest = difflib.get_close_matches(name, _FACTORIES, n=1, cutoff=0.0)[0]
        raise ConfigurationError(
            f"unknown estimator {name!r}; did you mean {nearest!r}? known are {', '.join(_FACTORIES)}"
        )
    return _FACTORIES[name]()

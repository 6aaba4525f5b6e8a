"""Second, larger network of the hybrid estimator, loaded when it is first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.estimators.network.network_matches import NetworkMatches
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.model.checkpoint import load_checkpoint_info
from iup_pose_ros.types import Frame
from iup_pose_ros.weights import MEDIUM_WEIGHTS


class SecondNetwork:
    """The shipped network ``medium`` as ``MatchingNetwork``, with device and precision of the first network.

    Attributes:
        weights: metadata of the weights file.

    Raises:
        CheckpointError: the weights file is missing or invalid.
    """

    def __init__(self, options: NetworkOptions) -> None:
        self._options = replace(options, weights=MEDIUM_WEIGHTS, image_area=None)
        self.weights = load_checkpoint_info(MEDIUM_WEIGHTS)

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        return self._network.info

    def match(self, previous: Frame, current: Frame) -> NetworkMatches:
        """See MatchingNetwork.match."""
        return self._network.match(previous, current)

    @cached_property
    def _network(self) -> IUPPoseEstimator:
        return IUPPoseEstimator.from_options(self._options)

"""Network and geometry together: the network says roughly where points went, their tracks say it precisely.

Where neither the tracks of the caller nor those that start at the network's soft correspondence agree on one
motion, plain Lucas-Kanade has its turn. The pose with most support is joined with the network's by their
covariances; the network's stands alone where no tracks agree, or too few against its word, and tracks alone
where the network has no answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import Frame, Matches, RelativePose
from iup_pose_ros.estimators.epipolar import EpipolarConfig, EpipolarEstimator, EpipolarResult
from iup_pose_ros.estimators.features import LucasKanadeFrontEnd
from iup_pose_ros.estimators.guided_tracks import GuidedTracker
from iup_pose_ros.estimators.iup_pose import IUPPoseEstimator
from iup_pose_ros.estimators.network_options import NetworkOptions
from iup_pose_ros.estimators.pose_fusion import PoseDifference
from iup_pose_ros.estimators.pose_prior import PosePrior, PriorNetwork
from iup_pose_ros.model.checkpoint import Temperatures


@dataclass(frozen=True)
class HybridConfig:
    """When tracks decide a pose.

    Attributes:
        decisive_inliers: tracks that must agree,
        decisive_share: and the share of all tracks that they must be.
    """

    decisive_inliers: int = 30
    decisive_share: float = 0.5


class HybridEstimator:
    """Tracks guided by a network, and both poses fused, behind the ``RelativePoseEstimator`` protocol.

    Args:
        network: gives the prior of every pair.
        temperatures: calibration of the covariance of poses from tracks.
        config: when tracks decide.
    """

    name = "hybrid"

    def __init__(
        self,
        network: PriorNetwork,
        temperatures: Temperatures | None = None,
        config: HybridConfig = HybridConfig(),
    ) -> None:
        self.network = network
        self.temperatures = temperatures or Temperatures()
        self._config = config
        self._plain = LucasKanadeFrontEnd()
        self._guided = GuidedTracker()
        # Guided tracks are mostly right: good samples come early.
        self._epipolar = EpipolarEstimator(self._plain, EpipolarConfig(min_iterations=200))

    @classmethod
    def from_options(cls, options: NetworkOptions) -> HybridEstimator:
        """The estimator with the network and calibration of a weights file.

        Raises:
            CheckpointError: the file is missing or not acceptable.
            ConfigurationError: the device does not exist, or does not know the precision.
        """
        network = IUPPoseEstimator.from_options(options)
        return cls(network, network.weights.track_temperatures if network.weights else None)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose of unit translation; given matches are used before own ones are searched for.

        Raises:
            EstimationError: the network has no answer, and tracks do not agree either.
        """
        try:
            prior = self.network.prior(previous, current)
        except EstimationError:
            return replace(self._epipolar.estimate(previous, current, matches), source=self.name)
        result = self._best_result(previous, current, matches, prior)
        if result is None:
            return replace(prior.pose, source=self.name)
        from_tracks = calibrated(result.pose, self.temperatures)
        difference = PoseDifference.between(from_tracks, prior.pose)
        if difference.consistent:
            return difference.fused(self.name)
        return replace(from_tracks if self._decisive(result) else prior.pose, source=self.name)

    def _decisive(self, result: EpipolarResult) -> bool:
        share = result.inliers / result.matches
        return result.inliers >= self._config.decisive_inliers and share >= self._config.decisive_share

    def _best_result(
        self, previous: Frame, current: Frame, matches: Matches | None, prior: PosePrior
    ) -> EpipolarResult | None:
        """The first decisive result, else the one of most inliers; None where no tracks agree."""
        best: EpipolarResult | None = None
        for tracks in self._tracks(previous, current, matches, prior):
            try:
                result = self._epipolar.fit(previous, current, tracks)
            except EstimationError:
                continue
            if self._decisive(result):
                return result
            if best is None or result.inliers > best.inliers:
                best = result
        return best

    def _tracks(
        self, previous: Frame, current: Frame, matches: Matches | None, prior: PosePrior
    ) -> Iterator[Matches]:
        """Tracks in the order in which they are tried; each is made only when it is its turn."""
        if matches is not None:
            yield matches
        yield self._guided.match(previous, current, prior.matches, prior.weights)
        if matches is None:
            yield self._plain.match(previous, current)


def calibrated(pose: RelativePose, temperatures: Temperatures) -> RelativePose:
    """The pose with its standard deviations multiplied by the temperatures."""
    factors = np.repeat([temperatures.direction, temperatures.rotation], 3)
    return replace(
        pose,
        covariance=pose.covariance * np.outer(factors, factors),
        sigma_R=pose.sigma_R * temperatures.rotation,
        sigma_t=pose.sigma_t * temperatures.direction,
    )

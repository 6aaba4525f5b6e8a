"""Network and geometry together: the network says roughly where points went, their tracks say it precisely.

Tracks of the caller, or plain Lucas-Kanade, come first: where many agree on a motion that they determine
well, the network could add little and is not asked. Elsewhere tracks start at the network's soft
correspondence, and where these determine the motion neither, the pose with most support is joined with the
network's by their covariances. Where both contradict each other the one to believe is given with a covariance
that reaches to the other. The network's pose stands alone where no tracks agree, that of tracks where the
network has no answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import Frame, Matches, RelativePose
from iup_pose_ros.estimators.calibrated import calibrated
from iup_pose_ros.estimators.epipolar_solver import EpipolarConfig, EpipolarResult, EpipolarSolver
from iup_pose_ros.estimators.guided_tracks import GuidedTracker
from iup_pose_ros.estimators.iup_pose import IUPPoseEstimator
from iup_pose_ros.estimators.network_options import NetworkOptions
from iup_pose_ros.estimators.pose_fusion import PoseDifference
from iup_pose_ros.estimators.pose_prior import PosePrior, PriorNetwork
from iup_pose_ros.estimators.probed_tracks import ProbedLucasKanadeFrontEnd
from iup_pose_ros.model.checkpoint import Temperatures


@dataclass(frozen=True)
class HybridConfig:
    """When tracks decide a pose.

    Attributes:
        inliers: tracks that must agree,
        share: and the share of all tracks that they must be, to be believed where the network disagrees.
        sure_rotation, sure_direction: greatest standard deviations, radians, of a pose of such tracks that
            needs no network.
    """

    inliers: int = 50
    share: float = 0.5
    sure_rotation: float = math.radians(3.0)
    sure_direction: float = math.radians(15.0)


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
        self._plain = ProbedLucasKanadeFrontEnd()
        self._guided = GuidedTracker()
        # Guided tracks are mostly right: good samples come early.
        self._epipolar = EpipolarSolver(self.name, EpipolarConfig(min_iterations=200))

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
        tracks = self._plain.match(previous, current) if matches is None else matches
        plain = self._fitted(previous, current, tracks)
        if plain is not None and self._sure(plain):
            return replace(plain.pose, source=self.name)
        try:
            prior = self.network.prior(previous, current)
        except EstimationError:
            if plain is None:
                raise
            return replace(plain.pose, source=self.name)
        guided = self._guided.match(previous, current, prior.matches, prior.weights)
        pose = self._joined(self._best(self._fitted(previous, current, guided), plain), prior)
        return replace(pose, source=self.name, attention=prior.attention)

    def _fitted(self, previous: Frame, current: Frame, tracks: Matches) -> EpipolarResult | None:
        """What tracks say, with calibrated deviations; None where they do not agree."""
        try:
            result = self._epipolar.fit(previous, current, tracks)
        except EstimationError:
            return None
        return replace(result, pose=calibrated(result.pose, self.temperatures))

    def _joined(self, result: EpipolarResult | None, prior: PosePrior) -> RelativePose:
        """Both poses fused where they agree; else the one to believe, in doubt."""
        if result is None:
            return prior.pose
        if self._sure(result):
            return result.pose
        try:
            network = prior.pose
        except EstimationError:
            return result.pose
        difference = PoseDifference.between(result.pose, network)
        if difference.consistent:
            return difference.fused(self.name)
        if not self._decisive(result):
            difference = PoseDifference.between(network, result.pose)
        return difference.first_in_doubt(self.name)

    def _best(self, guided: EpipolarResult | None, plain: EpipolarResult | None) -> EpipolarResult | None:
        """The first decisive result, else the one of most inliers; None where no tracks agree."""
        found = [result for result in (guided, plain) if result is not None]
        decisive = [result for result in found if self._decisive(result)]
        return decisive[0] if decisive else max(found, key=lambda result: result.inliers, default=None)

    def _decisive(self, result: EpipolarResult) -> bool:
        config = self._config
        return result.inliers >= config.inliers and result.inliers >= config.share * result.matches

    def _sure(self, result: EpipolarResult) -> bool:
        config, pose = self._config, result.pose
        return (
            self._decisive(result)
            and float(pose.sigma_R.max()) <= config.sure_rotation
            and pose.sigma_t <= config.sure_direction
        )

"""Network and geometry together: the network says roughly where points went, their tracks say it precisely.

Tracks of the caller, or plain Lucas-Kanade, come first; if they determine the motion well, the network
could add little and is not asked. Elsewhere tracks start at the network's soft correspondence. Their pose
is searched for among samples, and from the network's pose on: where few points are seen, or all far ahead,
a wrong motion can explain as many tracks, and the soft correspondence has a say in which of both is right.
Wherever many tracks agree on a motion they are tracked anew, from where they went on, which makes them
exact. Where they agree on too little, their pose and the network's are joined by their covariances, or if
they contradict each other the network's is given with a covariance that reaches to the other. The network's
pose stands alone where no tracks agree, that of tracks where the network has no answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarResult, EpipolarSolver
from iup_pose_ros.estimators.matching.guided_klt import RETRACKED, GuidedTracker
from iup_pose_ros.estimators.matching.probed_klt import ProbedLucasKanadeFrontEnd
from iup_pose_ros.estimators.network.conversion import select_confident
from iup_pose_ros.estimators.network.iup_pose_estimator import MAX_SCORING_MATCHES, IUPPoseEstimator
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.network.prior import PosePrior, PriorNetwork
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.estimators.pose_fusion import PoseDifference
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import Frame, Matches, RelativePose

# Errors from which on a track, or a match of the network, speaks against a pose; pixels of 640.
_WRONG_TRACK, _WRONG_MATCH = 1.0, 3.0


@dataclass(frozen=True)
class HybridConfig:
    """When tracks decide a pose.

    Attributes:
        inliers: tracks that must agree,
        share: and the share of all tracks that they must be, to be believed.
        sure_rotation, sure_direction: greatest standard deviations, radians, of a pose of such tracks for
            which the network is not asked.
    """

    inliers: int = 30
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
        temperatures: SigmaCalibration | None = None,
        config: HybridConfig = HybridConfig(),
    ) -> None:
        self.network = network
        self.temperatures = temperatures or SigmaCalibration()
        self._config = config
        self._plain = ProbedLucasKanadeFrontEnd()
        self._exact = GuidedTracker(RETRACKED)
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

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info: its network, under its own name."""
        return replace(self.network.info, name=self.name)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose of unit translation; given matches are used before own ones are searched for.

        Raises:
            EstimationError: the network has no answer, and tracks do not agree either.
        """
        tracks = self._plain.match(previous, current) if matches is None else matches
        found = _solved(lambda: self._epipolar.fit(previous, current, tracks))
        plain = self._retracked(previous, current, found)
        if plain is not None and self._sure(plain):
            return self._pose(plain)
        try:
            prior = self.network.prior(previous, current)
        except EstimationError:
            if plain is None:
                raise
            return self._pose(plain)
        led = self._retracked(previous, current, self._led(previous, current, prior))
        result = self._best(led, plain)
        return replace(self._joined(result, prior), source=self.name, attention=prior.attention)

    def _pose(self, result: EpipolarResult) -> RelativePose:
        """The pose of tracks with calibrated deviations."""
        return apply_sigma_calibration(result.pose, self.temperatures)

    def _retracked(
        self, previous: Frame, current: Frame, result: EpipolarResult | None
    ) -> EpipolarResult | None:
        """What tracks say that start where tracks that decide ended, if they decide as well."""
        if result is None or not self._decisive(result):
            return result
        tracks = self._exact.match(previous, current, result.inlier_matches, np.ones(result.inliers))
        exact = _solved(lambda: self._epipolar.refine(result.T_prev_curr, previous, current, tracks))
        return result if exact is None or not self._decisive(exact) else exact

    def _led(self, previous: Frame, current: Frame, prior: PosePrior) -> EpipolarResult | None:
        """What tracks say that the network leads: of the poses found in two ways the one that fits best."""
        tracks = self._guided.match(previous, current, prior.matches, prior.weights)
        ways = [lambda: self._epipolar.fit(previous, current, tracks)]
        if prior.pose is not None:
            T_prev_curr = prior.pose.T_prev_curr
            ways.append(lambda: self._epipolar.refine(T_prev_curr, previous, current, tracks))
        found = [result for way in ways if (result := _solved(way)) is not None]
        cameras = CameraPair.of(previous, current)
        evidence = (
            (tracks, _WRONG_TRACK),
            (select_confident(prior.matches, prior.weights, MAX_SCORING_MATCHES), _WRONG_MATCH),
        )

        def misfit(result: EpipolarResult) -> float:
            return sum(
                EpipolarErrors(result.T_prev_curr, matches, cameras).msac_cost(cameras.pixels(wrong))
                for matches, wrong in evidence
            )

        return min(found, key=misfit, default=None)

    def _joined(self, result: EpipolarResult | None, prior: PosePrior) -> RelativePose:
        """The pose of tracks that decide; else both fused where they agree, or the network's in doubt."""
        network = prior.pose
        if result is None:
            if network is None:
                raise EstimationError("no tracks agree on a motion, and the network's output is not finite")
            return network
        tracked = self._pose(result)
        if network is None or self._decisive(result):
            return tracked
        difference = PoseDifference.between(tracked, network)
        if difference.consistent:
            return difference.fused(self.name)
        return PoseDifference.between(network, tracked).with_mixture_covariance(self.name)

    def _best(self, led: EpipolarResult | None, plain: EpipolarResult | None) -> EpipolarResult | None:
        """The first decisive result, else the one of most inliers; None where no tracks agree."""
        found = [result for result in (led, plain) if result is not None]
        decisive = [result for result in found if self._decisive(result)]
        return decisive[0] if decisive else max(found, key=lambda result: result.inliers, default=None)

    def _decisive(self, result: EpipolarResult) -> bool:
        config = self._config
        return result.inliers >= config.inliers and result.inliers >= config.share * result.matches

    def _sure(self, result: EpipolarResult) -> bool:
        if not self._decisive(result):
            return False
        pose = self._pose(result)
        sure_rotation, sure_direction = self._config.sure_rotation, self._config.sure_direction
        return float(pose.sigma_R.max()) <= sure_rotation and pose.sigma_t <= sure_direction


def _solved(solve: Callable[[], EpipolarResult]) -> EpipolarResult | None:
    """A pose of tracks; None where they do not agree."""
    try:
        return solve()
    except EstimationError:
        return None

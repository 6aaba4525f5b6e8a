"""Estimator ``hybrid``: combine tracks, network matches and SIFT, cheapest first, until a pose is probable.

1. The given tracks, or own Lucas-Kanade tracks, are sufficient where they constrain the pose well. Otherwise
   the network matches keypoints, then Lucas-Kanade tracks start from these matches, then SIFT features are
   matched. If no tracks were given, a second, larger network matches last. Each kind of matches adds
   candidate poses and is evidence for or against all candidates. The search ends as soon as one candidate is
   probable enough.
2. A pose of low probability is not returned: a failed estimate does less harm than a wrong pose.
3. The most probable candidate is refined with tracks that start from all matches that agree with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.residuals import CameraPair
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarResult, EpipolarSolver
from iup_pose_ros.estimators.matching.features import SiftFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import RETRACKED, GuidedTracker
from iup_pose_ros.estimators.matching.probed_klt import ProbedLucasKanadeFrontEnd
from iup_pose_ros.estimators.network.iup_pose_estimator import IUPPoseEstimator
from iup_pose_ros.estimators.network.network_matches import MATCH_SOLVER, MatchingNetwork
from iup_pose_ros.estimators.network.options import NetworkOptions
from iup_pose_ros.estimators.network.second_network import SecondNetwork
from iup_pose_ros.estimators.network.sigma_calibration import apply_sigma_calibration
from iup_pose_ros.estimators.pose_evidence import (
    Candidate,
    InlierModel,
    PoseEvidence,
    check_probability,
    exclude_each_other,
    motion_past_fixed,
    probability_beside,
)
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.model.checkpoint import SigmaCalibration
from iup_pose_ros.types import Frame, Matches, RelativePose

_Result = TypeVar("_Result")

_KIND_NAMES = {
    "tracks": "tracks",
    "network": "network matches",
    "guided": "guided tracks",
    "sift": "SIFT matches",
    "second_network": "matches of the second network",
}


@dataclass(frozen=True)
class HybridConfig:
    """Settings of the hybrid estimator.

    Attributes:
        always_ask: whether the network runs even where tracks are sufficient.
        min_inliers: minimum number of inlier tracks of a reliable pose.
        min_inlier_ratio: minimum ratio of inlier tracks of a reliable pose.
        max_sigma_R, max_sigma_t: maximum standard deviations, radians, of a pose from tracks only.
        sufficient_track_probability: minimum probability of a pose from tracks only.
        sufficient_probability: probability of a candidate at which the search ends.
    """

    always_ask: bool = False
    min_inliers: int = 30
    min_inlier_ratio: float = 0.5
    max_sigma_R: float = float(np.radians(3.0))
    max_sigma_t: float = float(np.radians(15.0))
    sufficient_track_probability: float = 0.9
    sufficient_probability: float = 0.97


class Stage(NamedTuple):
    """State of the search after a kind of matches was added.

    Attributes:
        evidence: matches of all kinds so far.
        candidates: poses estimated from these matches.
        attention: attention map of the network; None before the network ran.
        is_contested: whether many matches stay in place and contradict the pose of those that move.
    """

    evidence: PoseEvidence
    candidates: list[Candidate]
    attention: NDArray[np.float32] | None = None
    is_contested: bool = False


class HybridEstimator:
    """Combination of tracks, network matches and SIFT as ``RelativePoseEstimator``.

    Args:
        network: network that matches keypoints of two frames.
        calibration: calibration of the standard deviations.
        inlier_model: model of the probability of candidates.
        config: settings.
        second_network: larger network for pairs without given tracks whose pose is uncertain after all other
            kinds. It takes too long between images of a video, which tracks connect.
    """

    name = "hybrid"

    def __init__(
        self,
        network: MatchingNetwork,
        calibration: SigmaCalibration | None = None,
        inlier_model: InlierModel | None = None,
        config: HybridConfig = HybridConfig(),
        second_network: MatchingNetwork | None = None,
    ) -> None:
        self.network = network
        self._second_network = second_network
        self._calibration = calibration or SigmaCalibration()
        self._inlier_model = inlier_model or InlierModel({})
        self._config = config
        self._tracker = ProbedLucasKanadeFrontEnd()
        self._guided_tracker = GuidedTracker()
        self._retracker = GuidedTracker(RETRACKED)
        self._sift = SiftFrontEnd()
        # Most tracks are inliers, so few iterations suffice.
        self._track_solver = EpipolarSolver(self.name, EpipolarConfig(min_iterations=200))
        self._network_solver = EpipolarSolver(self.name, MATCH_SOLVER)
        self._solvers = {
            "tracks": self._track_solver,
            "network": self._network_solver,
            "guided": self._track_solver,
            "sift": EpipolarSolver(self.name),
            "second_network": self._network_solver,
        }

    @classmethod
    def from_options(cls, options: NetworkOptions) -> HybridEstimator:
        """Create the estimator with the network and calibration of a weights file.

        Raises:
            CheckpointError: the file is missing or invalid.
            ConfigurationError: the device does not exist or does not support the precision.
        """
        network = IUPPoseEstimator.from_options(options)
        on_gpu = network.device.type == "cuda"
        always = options.ask_network == "always" or (options.ask_network == "auto" and on_gpu)
        config = HybridConfig(always_ask=always)
        second = SecondNetwork(options) if options.second_network else None
        weights = network.weights
        if weights is None:
            return cls(network, config=config, second_network=second)
        of_second = {} if second is None else second.weights.inlier_model
        inlier_model = InlierModel({**of_second, **weights.inlier_model})
        return cls(network, weights.hybrid_calibration, inlier_model, config, second)

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        return replace(self.network.info, name=self.name)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Estimate the relative pose of unit translation; given matches replace the tracks of step 1.

        Raises:
            EstimationError: no candidate pose is probable.
        """
        # 1. Search for matches of more kinds until one candidate pose is probable.
        for stage in self.stages(previous, current, matches):
            probability, best = self._most_probable(stage)
            if best is not None and self._is_enough(stage, best, probability):
                break
        # 2. Fail rather than return a pose that is probably wrong.
        if best is None:
            counts = [f"{len(found)} {_KIND_NAMES[kind]}" for kind, found in stage.evidence.matches.items()]
            raise EstimationError(f"no consistent motion: no pose was found from {', '.join(counts)}")
        check_probability(probability)
        # 3. Refine the candidate with tracks that start from all matches that agree with it.
        from_tracks_only = len(stage.evidence.matches) == 1
        result = best.result if from_tracks_only else self._refined(previous, current, stage.evidence, best)
        pose = apply_sigma_calibration(result.pose_of_any_shutter, self._calibration)
        # 4. A candidate that excludes the pose has a share of the probability and of the covariance.
        rival_probability, rival = self._rival(stage, pose.T_prev_curr)
        if rival is not None:
            pose = pose.covering(rival.T_prev_curr, probability_beside(rival_probability, probability))
            probability = probability_beside(probability, rival_probability)
        return replace(pose, attention=stage.attention, inlier_probability=probability)

    def stages(self, previous: Frame, current: Frame, matches: Matches | None = None) -> Iterator[Stage]:
        """Yield the state of the search after each kind of matches, in the order of ``_KIND_NAMES``.

        Once the matches that move prevail over those fixed in the image, the search starts again without the
        latter (see ``PoseEvidence``). Given matches alone are not checked: the caller has left them out.
        """
        with_second = matches is None
        tracks = self._tracker.match(previous, current) if matches is None else matches
        for stage in self._search(previous, current, tracks, with_second):
            evidence, kind = stage.evidence, stage.evidence.latest_kind
            if kind == "tracks" and matches is not None:
                yield stage
                continue
            T_moving = motion_past_fixed(evidence, kind, partial(self._solvers[kind].fit, previous, current))
            if T_moving is not None and evidence.prevails(T_moving):
                yield from self._search(previous, current, tracks, with_second, T_moving)
                return
            yield stage._replace(is_contested=T_moving is not None)

    def _search(
        self,
        previous: Frame,
        current: Frame,
        tracks: Matches,
        with_second: bool,
        T_moving: Pose | None = None,
    ) -> Iterator[Stage]:
        """Yield the stages of a search; with the pose of what moves, without what is fixed in the image."""
        evidence = PoseEvidence(CameraPair.of(previous, current), T_moving=T_moving)
        candidates: list[Candidate] = []

        def add(kind: str, found: Matches) -> EpipolarResult | None:
            """Add matches to the evidence, and their pose, which is returned, to the candidates."""
            used = evidence.add(kind, found)
            result = _try(lambda: self._solvers[kind].fit(previous, current, used))
            if result is not None:
                candidates.append(Candidate(result, kind))
            return result

        tracked = add("tracks", tracks)
        if tracked is not None:
            candidates[0] = Candidate(self._retracked(previous, current, tracked), "tracks")
        yield Stage(evidence, candidates)

        network = _try(lambda: self.network.match(previous, current))
        attention = None if network is None else network.attention
        if network is not None:
            matched = add("network", network.confident)
            yield Stage(evidence, candidates, attention)

            add("guided", self._guided_tracker.match(previous, current, network.matches, network.weights))
            if matched is not None:
                start = matched.T_prev_curr
                guided = evidence.matches["guided"]
                refined = _try(lambda: self._track_solver.refine(start, previous, current, guided))
                candidates += [] if refined is None else [Candidate(refined, "guided")]
            yield Stage(evidence, candidates, attention)

        add("sift", self._sift.match(previous, current))
        yield Stage(evidence, candidates, attention)

        if network is not None and self._second_network is not None and with_second:
            add("second_network", self._second_network.match(previous, current).confident)
            yield Stage(evidence, candidates, attention)

    def _most_probable(self, stage: Stage) -> tuple[float, Candidate | None]:
        """Return the candidate of the highest probability, and this probability."""
        best, highest = None, 0.0
        for candidate in stage.candidates:
            probability = self._inlier_model.probability(stage.evidence, candidate)
            if best is None or probability > highest:
                best, highest = candidate, probability
        return highest, best

    def _rival(self, stage: Stage, T_prev_curr: Pose) -> tuple[float, Candidate | None]:
        """Return the most probable of the candidates that exclude a pose, and its probability."""
        rivals = [rival for rival in stage.candidates if exclude_each_other(rival.T_prev_curr, T_prev_curr)]
        return self._most_probable(stage._replace(candidates=rivals))

    def _is_enough(self, stage: Stage, best: Candidate, probability: float) -> bool:
        """Return whether the search can end; a pose from tracks only must also have small sigmas.

        While it is contested, more kinds of matches tell whether the camera moves or objects in front of it.
        """
        config = self._config
        if stage.is_contested:
            return False
        if len(stage.evidence.matches) > 1:
            return probability >= config.sufficient_probability
        if config.always_ask or probability < config.sufficient_track_probability:
            return False
        if not self._is_reliable(best.result):
            return False
        pose = apply_sigma_calibration(best.result.pose, self._calibration)
        return float(pose.sigma_R.max()) <= config.max_sigma_R and pose.sigma_t <= config.max_sigma_t

    def _refined(
        self, previous: Frame, current: Frame, evidence: PoseEvidence, best: Candidate
    ) -> EpipolarResult:
        """Return the pose from tracks that start at the agreeing matches, or from these if it is unreliable.

        SIFT matches are used beside the tracks, because an error of the common warp affects all tracks.
        """
        T_prev_curr = best.T_prev_curr
        agreeing = evidence.agreeing(T_prev_curr)
        tracks, exact = self._track_again(previous, current, T_prev_curr, agreeing)
        if exact is None:
            joint = _try(lambda: self._network_solver.refine(T_prev_curr, previous, current, agreeing))
            return best.result if joint is None else joint
        if "sift" not in evidence.matches:
            return exact
        matches, start = tracks.followed_by(evidence.agreeing(T_prev_curr, ["sift"])), exact.T_prev_curr
        joint = _try(lambda: self._track_solver.refine(start, previous, current, matches))
        return exact if joint is None else joint

    def _retracked(self, previous: Frame, current: Frame, result: EpipolarResult) -> EpipolarResult:
        """Repeat tracking from the inliers of a reliable pose; return the new pose if it is reliable, too."""
        if not self._is_reliable(result):
            return result
        _, exact = self._track_again(previous, current, result.T_prev_curr, result.inlier_matches)
        return result if exact is None else exact

    def _track_again(
        self, previous: Frame, current: Frame, T_prev_curr: Pose, start: Matches
    ) -> tuple[Matches, EpipolarResult | None]:
        """Return tracks that start from matches, and the pose refined by them; None if it is not reliable."""
        tracks = self._retracker.match(previous, current, start, np.ones(len(start)))
        exact = _try(lambda: self._track_solver.refine(T_prev_curr, previous, current, tracks))
        return tracks, exact if exact is not None and self._is_reliable(exact) else None

    def _is_reliable(self, result: EpipolarResult) -> bool:
        """Return whether a pose has enough inliers."""
        config = self._config
        return result.inliers >= max(config.min_inliers, config.min_inlier_ratio * result.matches)


def _try(estimate: Callable[[], _Result]) -> _Result | None:
    """Return the result of an estimation, or None if it fails."""
    try:
        return estimate()
    except EstimationError:
        return None

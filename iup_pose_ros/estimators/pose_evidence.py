"""Evidence for candidate poses of an image pair, and the probability that a pose is right.

Matches of several kinds are found between two images, and each kind gives candidate poses. A kind that went
wrong as a whole, such as tracks that started at wrong places, still agrees with the pose estimated from it.
So every kind judges every candidate, and how much a kind's agreement with its own pose is worth has a weight
of its own. The weights are those of a logistic regression on image pairs with ground truth
(``iup-pose calibrate``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.estimators.epipolar.solver import EpipolarResult
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.types import Matches

# Kinds of matches, and the epipolar error up to which they agree with a pose, pixels of an image whose
# longer side has 640.
KINDS = {"tracks": 1.0, "network": 2.0, "guided": 1.0, "sift": 1.5}
# Share of the matches that agree with a wrong pose by chance.
_CHANCE = 0.03
_SHARE_PRIOR = 5.0  # matches; keeps the share of a few matches low
MINIMUM_PROBABILITY = 0.5  # of a pose that is published
INLIER_ERROR_DEG = 10.0  # of rotation and direction, of a pose that is no outlier

# Weights of a network without fitted ones: about 15 agreeing matches make a pose as probable as not.
UNFITTED = {"constant": -4.0, **{f"{kind} count": 1.5 for kind in KINDS}}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A pose and the kind of matches that it was estimated from."""

    result: EpipolarResult
    kind: str

    @property
    def T_prev_curr(self) -> Pose:
        """The pose, of unit translation."""
        return self.result.T_prev_curr


class PoseEvidence:
    """Matches of an image pair by kind, and which of them agree with a pose."""

    def __init__(self, cameras: CameraPair, matches: Mapping[str, Matches] | None = None) -> None:
        self.cameras = cameras
        self.matches = dict(matches or {})

    @property
    def kinds(self) -> str:
        """Names of the kinds of matches that are there, in the order in which they came."""
        return " ".join(self.matches)

    def agreeing(self, T_prev_curr: Pose, kinds: Iterable[str] | None = None) -> Matches:
        """Return the matches, of all kinds or the given ones, that agree with a pose of unit translation."""
        found = Matches(np.zeros((0, 2)), np.zeros((0, 2)))
        for kind in self.matches if kinds is None else kinds:
            found = found.followed_by(self.matches[kind].chosen(self._agree(kind, T_prev_curr)))
        return found

    def features(self, candidate: Candidate) -> dict[str, float]:
        """Return what the probability of a candidate depends on, by name."""
        features = {"constant": 1.0, f"from {candidate.kind}": 1.0}
        for kind, matches in self.matches.items():
            count = int(np.count_nonzero(self._agree(kind, candidate.T_prev_curr)))
            features[f"{kind} count"] = float(np.log1p(max(count - _CHANCE * len(matches), 0.0)))
            features[f"{kind} share"] = count / (len(matches) + _SHARE_PRIOR)
            if kind == candidate.kind:
                features[f"{kind} own count"] = float(np.log1p(count))
        return features

    def _agree(self, kind: str, T_prev_curr: Pose) -> NDArray[np.bool_]:
        threshold = self.cameras.pixels(KINDS[kind])
        errors = EpipolarErrors(T_prev_curr, self.matches[kind], self.cameras)
        return (np.abs(errors.residuals) < threshold) & errors.in_front(threshold / 3.0)


class InlierModel:
    """Probability that a candidate errs by less than ``INLIER_ERROR_DEG``, by logistic regression.

    Args:
        weights: by the kinds of matches that are there (``PoseEvidence.kinds``) and the name of the feature.
            Kinds without weights of their own have those of ``UNFITTED``.
    """

    def __init__(self, weights: Mapping[str, Mapping[str, float]]) -> None:
        self.weights = weights

    def probability(self, evidence: PoseEvidence, candidate: Candidate) -> float:
        """Return the probability of a candidate."""
        weights = self.weights.get(evidence.kinds, UNFITTED)
        features = evidence.features(candidate)
        return float(expit(sum(weights.get(name, 0.0) * value for name, value in features.items())))


def check_probability(probability: float) -> None:
    """Refuse a pose that is probably wrong: a failed estimate harms less than a wrong pose.

    Raises:
        EstimationError: the probability is below ``MINIMUM_PROBABILITY``.
    """
    if probability < MINIMUM_PROBABILITY:
        raise EstimationError(
            f"no probable pose: the best candidate is right with a probability of {probability:.2f}, "
            f"at least {MINIMUM_PROBABILITY} is needed"
        )

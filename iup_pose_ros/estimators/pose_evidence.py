"""Evidence for candidate poses of an image pair, and the probability that a pose is correct.

Candidate poses come from several kinds of matches. If all matches of a kind are wrong, such as tracks with a
wrong starting point, they still agree with the pose estimated from them. Therefore each candidate is scored
by all kinds of matches, and the agreement of matches with their own pose has a separate weight. The weights
come from a logistic regression on image pairs with ground truth (``iup-pose calibrate``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.estimators.epipolar.solver import EpipolarResult
from iup_pose_ros.geometry.pose import Pose, angles_between
from iup_pose_ros.types import Matches

# Kinds of matches and their inlier threshold, pixels for a longer image side of 640 pixels.
KINDS = {"tracks": 1.0, "network": 2.0, "guided": 1.0, "sift": 1.5, "second_network": 2.0}
# Ratio of matches that agree with a wrong pose by chance.
_CHANCE = 0.03
_SHARE_PRIOR = 5.0  # matches; regularises the inlier ratio of few matches
_GRID = 8  # cells per image side, for the spread of matches
MIN_FIXED = 15  # matches; fewer that are fixed in the image are outliers like others
MINIMUM_PROBABILITY = 0.5  # of a returned pose
INLIER_ERROR_DEG = 10.0  # maximum error of rotation and direction of a correct pose
_TINY = 1e-12

# Default weights: about 15 agreeing matches give a probability of one half.
UNFITTED = {"constant": -4.0, **{f"{kind} count": 1.5 for kind in KINDS}}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate pose and the kind of matches it was estimated from."""

    result: EpipolarResult
    kind: str

    @property
    def T_prev_curr(self) -> Pose:
        """Pose of the current camera in the previous frame, unit translation."""
        return self.result.T_prev_curr


class PoseEvidence:
    """Matches of an image pair by kind, and their agreement with candidate poses.

    Matches on drops and dirt on the lens, on overlays and on parts of the robot are fixed in the image: they
    stay in place and contradict the pose of the matches that move. Distant points and those in the direction
    of the motion stay in place, too, but agree with that pose.

    Args:
        cameras: intrinsics of both images.
        matches: matches by kind.
        T_moving: pose of the matches that move, with which ``add`` leaves out what is fixed in the image;
            None: it adds all matches.
    """

    def __init__(
        self,
        cameras: CameraPair,
        matches: Mapping[str, Matches] | None = None,
        T_moving: Pose | None = None,
    ) -> None:
        self.cameras = cameras
        self.matches = dict(matches or {})
        self._T_moving = T_moving

    def add(self, kind: str, matches: Matches) -> Matches:
        """Add matches of a kind; return them without those that are left out."""
        self.matches[kind] = matches
        if self._T_moving is not None:
            self.matches[kind] = matches.chosen(~self.fixed(kind, self._T_moving))
        return self.matches[kind]

    def moving(self, kind: str) -> Matches:
        """Return the matches of a kind that do not stay in place."""
        return self.matches[kind].chosen(~self.cameras.in_place(self.matches[kind]))

    def fixed(self, kind: str, T_prev_curr: Pose) -> NDArray[np.bool_]:
        """Return which matches of a kind stay in place and contradict a pose of unit translation."""
        return self.cameras.in_place(self.matches[kind]) & ~self._agree(kind, T_prev_curr)

    def prevails(self, T_prev_curr: Pose) -> bool:
        """Return whether the matches that move and agree with a pose cover more of the image than fixed ones.

        Of a resting camera, before which objects move, most of the image stays in place.
        """
        by_fixed, by_moving = self._no_cells(), self._no_cells()
        for kind, matches in self.matches.items():
            agree, stay = self._agree(kind, T_prev_curr), self.cameras.in_place(matches)
            by_fixed |= self._covered(matches.chosen(stay & ~agree))
            by_moving |= self._covered(matches.chosen(agree & ~stay))
        return bool(np.count_nonzero(by_moving) > np.count_nonzero(by_fixed))

    @property
    def latest_kind(self) -> str:
        """Kind of the matches that were added last."""
        return list(self.matches)[-1]

    @property
    def kinds(self) -> str:
        """Names of the kinds of matches in the order in which they were added, separated by spaces."""
        return " ".join(self.matches)

    def agreeing(self, T_prev_curr: Pose, kinds: Iterable[str] | None = None) -> Matches:
        """Return the matches, of all or the given kinds, that agree with a pose of unit translation."""
        found = Matches(np.zeros((0, 2)), np.zeros((0, 2)))
        for kind in self.matches if kinds is None else kinds:
            found = found.followed_by(self.matches[kind].chosen(self._agree(kind, T_prev_curr)))
        return found

    def features(self, candidate: Candidate) -> dict[str, float]:
        """Return the features of the logistic regression for a candidate, by name.

        Beside the agreement of each kind of matches: the standard deviations of the pose and its number of
        inliers, and over how much of the previous image the agreeing matches are spread.
        """
        result = candidate.result
        features = {
            "constant": 1.0,
            f"from {candidate.kind}": 1.0,
            "inliers": float(np.log(result.inliers)),
            "sigma_R": float(np.log(np.linalg.norm(result.pose.sigma_R))),
            "sigma_t": float(np.log(result.pose.sigma_t)),
        }
        covered = self._no_cells()
        for kind, matches in self.matches.items():
            agree = self._agree(kind, candidate.T_prev_curr)
            count = int(np.count_nonzero(agree))
            features[f"{kind} count"] = float(np.log1p(max(count - _CHANCE * len(matches), 0.0)))
            features[f"{kind} share"] = count / (len(matches) + _SHARE_PRIOR)
            if kind == candidate.kind:
                features[f"{kind} own count"] = float(np.log1p(count))
            covered |= self._covered(matches.chosen(agree))
        features["spread"] = float(np.log1p(np.count_nonzero(covered)))
        return features

    def _agree(self, kind: str, T_prev_curr: Pose) -> NDArray[np.bool_]:
        threshold = self.cameras.pixels(KINDS[kind])
        return EpipolarErrors(T_prev_curr, self.matches[kind], self.cameras).inliers(
            threshold, threshold / 3.0
        )

    def _covered(self, matches: Matches) -> NDArray[np.bool_]:
        """Return which cells of the previous image contain matches."""
        size = self.cameras.previous.width, self.cameras.previous.height
        columns, rows = (matches.points_prev * _GRID / size).astype(int).clip(0, _GRID - 1).T
        covered = self._no_cells()
        covered[rows, columns] = True
        return covered

    @staticmethod
    def _no_cells() -> NDArray[np.bool_]:
        return np.zeros((_GRID, _GRID), dtype=np.bool_)


def motion_past_fixed(
    evidence: PoseEvidence, kind: str, fit: Callable[[Matches], EpipolarResult]
) -> Pose | None:
    """Return the pose of the matches of a kind that move; None if fewer than ``MIN_FIXED`` contradict it.

    Args:
        evidence: matches of all kinds so far.
        kind: kind of the matches from which the pose is estimated.
        fit: estimates a pose from matches, or raises EstimationError.
    """
    cameras = evidence.cameras
    in_place = sum(np.count_nonzero(cameras.in_place(matches)) for matches in evidence.matches.values())
    if in_place < MIN_FIXED:
        return None
    try:
        T_prev_curr = fit(evidence.moving(kind)).T_prev_curr
    except EstimationError:
        return None
    fixed = sum(np.count_nonzero(evidence.fixed(kind, T_prev_curr)) for kind in evidence.matches)
    return T_prev_curr if fixed >= MIN_FIXED else None


class InlierModel:
    """Logistic regression of the probability that the error of a candidate is below ``INLIER_ERROR_DEG``.

    Args:
        weights: weights by ``PoseEvidence.kinds`` and feature name; default: those of ``UNFITTED``.
    """

    def __init__(self, weights: Mapping[str, Mapping[str, float]]) -> None:
        self.weights = weights

    def probability(self, evidence: PoseEvidence, candidate: Candidate) -> float:
        """Return the probability that a candidate is correct."""
        weights = self.weights.get(evidence.kinds, UNFITTED)
        features = evidence.features(candidate)
        return float(expit(sum(weights.get(name, 0.0) * value for name, value in features.items())))


def exclude_each_other(first: Pose, second: Pose) -> bool:
    """Return whether two poses of unit translation cannot both err by less than ``INLIER_ERROR_DEG``."""
    return float(np.degrees(max(angles_between(first, second)))) > 2.0 * INLIER_ERROR_DEG


def probability_beside(probability: float, rival: float) -> float:
    """Return the probability of a pose, given that it and a rival cannot both be correct.

    Args:
        probability, rival: probabilities of both by their own evidence.
    """
    return (probability * (1.0 - rival) + _TINY) / (1.0 - probability * rival + 2.0 * _TINY)


def check_probability(probability: float) -> None:
    """Reject a pose that is probably wrong: a failed estimate does less harm than a wrong pose.

    Raises:
        EstimationError: the probability is below ``MINIMUM_PROBABILITY``.
    """
    if probability < MINIMUM_PROBABILITY:
        raise EstimationError(
            f"no probable pose: the best candidate has a probability of {probability:.2f}, "
            f"the minimum is {MINIMUM_PROBABILITY}"
        )

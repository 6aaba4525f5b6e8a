"""Fit of the hybrid estimator's ``InlierModel`` on image pairs with ground truth.

After every kind of matches that the search adds, each candidate pose is one example: its features, and
whether it errs by less than ``INLIER_ERROR_DEG``. Every set of pairs weighs the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from iup_pose_ros.datasets.image_pair import DataSetPair
from iup_pose_ros.estimators.hybrid import HybridEstimator
from iup_pose_ros.estimators.pose_evidence import INLIER_ERROR_DEG, PoseEvidence
from iup_pose_ros.evaluation.metrics.pair_errors import (
    direction_error_deg,
    pose_errors_deg,
    rotation_error_deg,
)
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame

_RIDGE = 1.0  # penalty of squared weights of features with unit variance


class Example(NamedTuple):
    """A candidate pose.

    Attributes:
        kinds: of matches that judged it (``PoseEvidence.kinds``).
        features: by name.
        is_inlier: whether rotation and direction err by less than ``INLIER_ERROR_DEG``.
    """

    kinds: str
    features: Mapping[str, float]
    is_inlier: bool


def candidate_examples(
    estimator: HybridEstimator, frames: tuple[Frame, Frame], pair: DataSetPair
) -> list[Example]:
    """Return the candidates of one pair after every kind of matches."""
    examples = []
    for stage in estimator.stages(*frames):
        for candidate in stage.candidates:
            error = _error_deg(candidate.T_prev_curr.inverse(), pair.T_1_0)
            features = stage.evidence.features(candidate)
            examples.append(Example(stage.evidence.kinds, features, error < INLIER_ERROR_DEG))
            if stage.evidence.kinds == "tracks network" and candidate.kind == "network":
                # The same pose as the network alone would publish it.
                alone = PoseEvidence(stage.evidence.cameras, {"network": stage.evidence.matches["network"]})
                examples.append(Example(alone.kinds, alone.features(candidate), error < INLIER_ERROR_DEG))
    return examples


def fit_inlier_model(sets: Iterable[Sequence[Example]]) -> dict[str, dict[str, float]]:
    """Return the weights by kinds of matches and name of the feature: penalised maximum likelihood.

    Args:
        sets: examples of each set of pairs.
    """
    examples, shares = defaultdict(list), defaultdict(list)
    for found in sets:
        for example in found:
            examples[example.kinds].append(example)
            shares[example.kinds].append(1.0 / len(found))
    return {kinds: _fit(examples[kinds], np.array(shares[kinds])) for kinds in examples}


def _fit(examples: Sequence[Example], shares: Array) -> dict[str, float]:
    """Return the weights of the features of examples of the same kinds of matches."""
    names = sorted({name for example in examples for name in example.features})
    table = np.array([[example.features.get(name, 0.0) for name in names] for example in examples])
    is_inlier = np.array([example.is_inlier for example in examples], dtype=np.float64)
    spread = table.std(axis=0)
    scale = np.where(spread > 0.0, spread, 1.0)
    scaled, share = table / scale, shares / shares.mean()
    ridge = np.where(np.array(names) == "constant", 0.0, _RIDGE)

    def loss(weights: Array) -> tuple[float, Array]:
        logits = scaled @ weights
        likelihood = np.logaddexp(0.0, logits) - is_inlier * logits
        gradient = scaled.T @ (share * (expit(logits) - is_inlier)) + ridge * weights
        return float(share @ likelihood + 0.5 * ridge @ weights**2), gradient

    found = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B")
    return dict(zip(names, (found.x / scale).tolist(), strict=True))


def _error_deg(T_1_0: Pose, reference: Pose) -> float:
    rotation = np.array([rotation_error_deg(T_1_0, reference)])
    return float(pose_errors_deg(rotation, np.array([direction_error_deg(T_1_0, reference)]))[0])

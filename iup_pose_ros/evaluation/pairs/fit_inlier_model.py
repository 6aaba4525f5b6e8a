"""Fit of the hybrid estimator's ``InlierModel`` on image pairs with ground truth.

Each candidate pose after each stage of the search is one example: its features, and whether its error is
below ``INLIER_ERROR_DEG``. All sets of pairs have the same total weight.
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
from iup_pose_ros.estimators.pose_evidence import INLIER_ERROR_DEG, Candidate, PoseEvidence
from iup_pose_ros.evaluation.metrics.pair_errors import (
    direction_error_deg,
    pose_errors_deg,
    rotation_error_deg,
)
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame

NETWORKS = ("network", "second_network")
"""Kinds of matches that are also evaluated alone."""
_RIDGE = 3.0  # ridge penalty for weights of features with unit variance


class Example(NamedTuple):
    """A candidate pose as training example.

    Attributes:
        kinds: kinds of matches (``PoseEvidence.kinds``) of its features; one of ``NETWORKS``: those of the
            estimator ``iup_pose`` with this network.
        features: features by name.
        is_inlier: whether the errors of rotation and direction are below ``INLIER_ERROR_DEG``.
    """

    kinds: str
    features: Mapping[str, float]
    is_inlier: bool


def candidate_examples(
    estimator: HybridEstimator, frames: tuple[Frame, Frame], pair: DataSetPair
) -> list[Example]:
    """Return the candidates of one pair after each stage of the search."""
    examples = []
    for stage in estimator.stages(*frames):
        for candidate in stage.candidates:
            T_1_0 = candidate.T_prev_curr.inverse()
            rotation = np.array([rotation_error_deg(T_1_0, pair.T_1_0)])
            direction = np.array([direction_error_deg(T_1_0, pair.T_1_0)])
            is_inlier = bool(pose_errors_deg(rotation, direction)[0] < INLIER_ERROR_DEG)
            features = stage.evidence.features(candidate)
            examples.append(Example(stage.evidence.kinds, features, is_inlier))
            if candidate.kind in NETWORKS and candidate.kind == stage.evidence.latest_kind:
                # The same pose as the estimator iup_pose returns it with this network.
                matches = stage.evidence.matches[candidate.kind]
                alone = PoseEvidence(stage.evidence.cameras, {"network": matches})
                features = alone.features(Candidate(candidate.result, "network"))
                examples.append(Example(candidate.kind, features, is_inlier))
    return examples


def fit_inlier_model(sets: Iterable[Sequence[Example]]) -> dict[str, dict[str, float]]:
    """Fit weights by kinds of matches and feature name: penalised maximum likelihood.

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
    """Fit the weights of the features of examples with the same kinds of matches."""
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

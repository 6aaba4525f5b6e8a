"""Loss of the assignment of keypoints.

Source: Lindenberger et al., "LightGlue: Local feature matching at light speed", 2023, section 3.4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.keypoint_alignment import AlignedKeypoints
from iup_pose_ros.training.keypoint_targets import KeypointTarget

MINIMUM_LOG_PROBABILITY = math.log(1e-4)  # limits the loss of matches that cannot be found
MAXIMUM_IMPOSSIBLE = 0.99  # probability of impossible matches above which the loss is constant


def keypoint_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the loss () of the assignment of kept keypoints and of the pruning of all keypoints."""
    kept = target.kept(aligned.kept_0, aligned.kept_1)
    return assignment_loss(aligned, kept) + pruning_loss(aligned, target)


def assignment_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the negative log likelihood () of the known part of the true assignment of kept keypoints.

    Matches and keypoints without a match have the same total weight. A further term penalises the total
    probability of impossible matches of each keypoint.
    """
    matched = target.match >= 0
    log_match = aligned.log_probability.gather(2, target.match.clamp(min=0)[..., None])[..., 0]
    found = _mean(-torch.logaddexp(log_match, torch.full_like(log_match, MINIMUM_LOG_PROBABILITY)), matched)
    alone_0 = _mean(functional.softplus(aligned.matchable_0), target.unmatched_0)
    alone_1 = _mean(functional.softplus(aligned.matchable_1), target.unmatched_1)
    loss: Tensor = found + 0.5 * (alone_0 + alone_1)
    if target.impossible is not None:
        wrong = aligned.log_probability.exp().masked_fill(~target.impossible, 0.0)
        loss = loss + 0.5 * (_improbable(wrong.sum(dim=2)) + _improbable(wrong.sum(dim=1)))
    return loss


def pruning_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the balanced cross entropy () of the pruning logits: which keypoints have a match.

    Only the pruning layer gets a gradient, not the tokens.
    """
    found_0 = _mean(functional.softplus(-aligned.pruning_0), target.match >= 0)
    found_1 = _mean(functional.softplus(-aligned.pruning_1), target.matched_1)
    alone_0 = _mean(functional.softplus(aligned.pruning_0), target.unmatched_0)
    alone_1 = _mean(functional.softplus(aligned.pruning_1), target.unmatched_1)
    loss: Tensor = 0.5 * (found_0 + found_1 + alone_0 + alone_1)
    return loss


def _improbable(probability: Tensor) -> Tensor:
    """Return the mean negative log likelihood () that events of probabilities (B, N) do not occur."""
    return -(-probability.clamp(max=MAXIMUM_IMPOSSIBLE)).log1p().mean()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return values.masked_fill(~chosen, 0.0).sum() / chosen.sum().clamp(min=1)

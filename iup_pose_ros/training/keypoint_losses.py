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

LEAST_CHANCE = math.log(1e-4)  # log probability below which a true match is given up: repeated patterns, blur
MOST_IMPOSSIBLE = 0.99  # probability of impossible matches above which the loss grows no more


def keypoint_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the loss () of the keypoints kept, and of the choice of these among all the target is of."""
    return assignment_loss(aligned, target.kept(aligned.kept_0, aligned.kept_1)) + promise_loss(
        aligned, target
    )


def assignment_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the negative log likelihood () of the true assignment of keypoints kept, as far as it is known.

    Matches and keypoints without a match weigh the same, however many there are of each. Besides, what a
    keypoint gives to impossible matches together must be improbable.
    """
    matched = target.match >= 0
    log_match = aligned.log_probability.gather(2, target.match.clamp(min=0)[..., None])[..., 0]
    found = _mean(-torch.logaddexp(log_match, torch.full_like(log_match, LEAST_CHANCE)), matched)
    alone_0 = _mean(functional.softplus(aligned.matchable_0), target.unmatched_0)
    alone_1 = _mean(functional.softplus(aligned.matchable_1), target.unmatched_1)
    loss: Tensor = found + 0.5 * (alone_0 + alone_1)
    if target.impossible is not None:
        wrong = aligned.log_probability.exp().masked_fill(~target.impossible, 0.0)
        loss = loss + 0.5 * (_improbable(wrong.sum(dim=2)) + _improbable(wrong.sum(dim=1)))
    return loss


def promise_loss(aligned: AlignedKeypoints, target: KeypointTarget) -> Tensor:
    """Return the cross entropy () of the early guess which keypoints have a match; both kinds weigh the same.

    It trains the guess alone: tokens get no gradient by it.
    """
    found_0 = _mean(functional.softplus(-aligned.promise_0), target.match >= 0)
    found_1 = _mean(functional.softplus(-aligned.promise_1), target.matched_1)
    alone_0 = _mean(functional.softplus(aligned.promise_0), target.unmatched_0)
    alone_1 = _mean(functional.softplus(aligned.promise_1), target.unmatched_1)
    loss: Tensor = 0.5 * (found_0 + found_1 + alone_0 + alone_1)
    return loss


def _improbable(probability: Tensor) -> Tensor:
    """Negative log probability that none of the events of these total probabilities (B, N) happens: ()."""
    return -(-probability.clamp(max=MOST_IMPOSSIBLE)).log1p().mean()


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return values.masked_fill(~chosen, 0.0).sum() / chosen.sum().clamp(min=1)

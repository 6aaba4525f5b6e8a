"""Loss of the network: negative log likelihood of pose errors under the predicted sigmas, and of matches.

Pose errors have a Laplace distribution with the predicted sigma as standard deviation. Its heavy tails bound
the gradient of outlier pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.iup_pose import PosePrediction
from iup_pose_ros.model.rotations import angle_between, length, rotation_error
from iup_pose_ros.training.targets import MatchTarget, MatchTargets, PairTarget

MAXIMUM_MATCH_LOSS = 15.0  # of one match; bounds the effect of wrong ground truth
REFERENCE_SIGMA = 0.05  # radians, sigma at which the tempered weight of a likelihood is 1
ANGLE_WEIGHT = 10.0  # per radian: 0.1 rad costs as much as a factor e of probability
REFINED_ANGLE = 0.005  # radians, error of a refined match above which its gradient decreases
REFINED_WEIGHT = 3.0  # weight of the angle relative to the likelihood


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss."""

    pose: float = 1.0
    """All pose terms; 0: train matches only, without computing a pose."""
    stage: float = 0.5
    """Each rotation stage, relative to 1 for the fused rotation."""
    direction: float = 1.0
    plain: float = 1.0
    """Angle, relative to its likelihood."""
    warm_up: float = 10.0
    """Angle during warm-up, before the likelihood is used."""
    tempering: float = 0.5
    """Power of sigma that weights a likelihood. Gradients are proportional to 1 / sigma for 0, to 1 for 1."""
    correspondence: float = 0.2
    """Matches of attention."""
    refinement: float = 0.2
    """Refined matches of all rounds."""


def rotation_likelihood(R_estimate: Tensor, sigma: Tensor, R_true: Tensor) -> Tensor:
    """Return the negative log likelihood (B,) of rotation errors: Laplace with sigma (B, 3) per axis."""
    error = rotation_error(R_estimate, R_true).abs()
    return (math.sqrt(2.0) * error / sigma + sigma.log()).sum(dim=1)


def direction_likelihood(t_estimate: Tensor, sigma: Tensor, t_true: Tensor) -> Tensor:
    """Return the negative log likelihood (B,) of direction errors: isotropic with heavy tails.

    The density exp(-sqrt(3) angle / sigma) / sigma^2 has variance sigma^2 per axis of the tangent plane.
    """
    return math.sqrt(3.0) * angle_between(t_estimate, t_true) / sigma + 2.0 * sigma.log()


def pose_loss(
    prediction: PosePrediction, target: PairTarget, weights: LossWeights, likelihood: float = 1.0
) -> Tensor:
    """Return the loss () of the fused rotation, both rotation stages and the direction.

    Args:
        prediction: network output for B pairs.
        target: true poses.
        weights: weights of the terms.
        likelihood: weight of the likelihood from 0 (warm-up, angles only) to 1.
    """
    stages = (
        (1.0, prediction.R_1_0, prediction.sigma_R),
        (weights.stage, prediction.R_stage1, prediction.sigma_stage1),
        (weights.stage, prediction.R_stage2, prediction.sigma_stage2),
    )
    # Pairs without motion have no direction.
    moves = (length(target.t_1_0) > 1e-5).float()
    nll = direction_likelihood(prediction.t_1_0, prediction.sigma_t, target.t_1_0)
    angle = angle_between(prediction.t_1_0, target.t_1_0)
    direction = _blend(nll, angle, prediction.sigma_t.log(), weights, likelihood)
    loss = weights.direction * moves * direction
    for weight, R, sigma in stages:
        nll = rotation_likelihood(R, sigma, target.R_1_0)
        angle = length(rotation_error(R, target.R_1_0))
        loss = loss + weight * _blend(nll, angle, sigma.log().mean(dim=1), weights, likelihood)
    return loss.mean()


def _blend(nll: Tensor, angle: Tensor, log_sigma: Tensor, weights: LossWeights, likelihood: float) -> Tensor:
    """Combine likelihoods, weighted by a power of sigma, and angles (all (B,)).

    The gradient of a likelihood by the pose is proportional to 1 / sigma. Without weights, pairs with small
    errors would dominate the gradient and difficult pairs would not be learnt (Seitzer et al., "On the
    pitfalls of heteroscedastic uncertainty estimation", 2022).
    """
    weight = (weights.tempering * (log_sigma.detach() - math.log(REFERENCE_SIGMA))).exp()
    return likelihood * (weight * nll + weights.plain * angle) + (1.0 - likelihood) * weights.warm_up * angle


def correspondence_loss(correspondence: SoftCorrespondence, target: MatchTargets) -> Tensor:
    """Return the auxiliary loss () of attention between visible cells: match probability and mean ray."""
    log_attention_0 = correspondence.logits.float().log_softmax(dim=2)
    log_attention_1 = correspondence.logits.float().transpose(1, 2).log_softmax(dim=2)
    loss_0 = _match_loss(log_attention_0, correspondence.view_0, target.view_0, correspondence.view_1)
    loss_1 = _match_loss(log_attention_1, correspondence.view_1, target.view_1, correspondence.view_0)
    return 0.5 * (loss_0 + loss_1)


def _match_loss(
    log_attention: Tensor, matches: MatchedRays, target: MatchTarget, other: MatchedRays
) -> Tensor:
    """Return the negative log probability of the true match plus the angle between mean and true ray."""
    # Log attention (B, N, H W), interpolated bilinearly at the sub-cell positions (B, N, 2) of true matches.
    height, width = other.own.shape[-2:]
    cells = target.cells.flatten(1, 2)
    corner = cells.floor()
    fraction = cells - corner
    terms = []
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = corner[..., 0] + dx, corner[..., 1] + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = (fraction[..., 0] - (1 - dx)).abs() * (fraction[..., 1] - (1 - dy)).abs() * inside
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        corner_value = log_attention.gather(2, index[..., None])[..., 0]
        terms.append(corner_value + (weight + 1e-9).log())
    log_probability = torch.stack(terms).logsumexp(dim=0)
    angle = angle_between(matches.matched.movedim(1, -1), target.rays.movedim(1, -1)).flatten(1)
    per_cell = (-log_probability).clamp(max=MAXIMUM_MATCH_LOSS) + ANGLE_WEIGHT * angle
    return _mean(per_cell, target.visible.flatten(1).float())


def refinement_loss(refined: Sequence[SoftCorrespondence], target: MatchTargets) -> Tensor:
    """Return the loss () of refined matches of all rounds: angles train the steps, likelihoods the sigmas.

    The likelihood has no gradient by the step, because many cells cannot be matched and steps would converge
    to zero with large sigmas. Occluded points train sigmas only.
    """
    losses = []
    for found in refined:
        for matches, target_view in ((found.view_0, target.view_0), (found.view_1, target.view_1)):
            matched, truth = matches.matched.movedim(1, -1), target_view.rays.movedim(1, -1)
            plain = (angle_between(matched, truth) / REFINED_ANGLE).log1p()
            nll = direction_likelihood(matched.detach(), matches.spread[:, 0], truth)
            visible, known = target_view.visible.float(), target_view.known.float()
            losses.append(_mean(REFINED_WEIGHT * plain, visible) + _mean(nll, known))
    return torch.stack(losses).mean()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum().clamp(min=1.0)

"""The loss of the network: negative log likelihood of pose errors under the predicted sigmas, and of matches.

Robust by heavy tails: pose errors count as Laplace variables whose standard deviation is the predicted sigma,
so that a hopeless pair pulls with bounded force and sigma keeps its meaning.
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

MAXIMAL_SURPRISE = 15.0  # of one match, so that wrong ground truth pulls with bounded force
REFERENCE_SIGMA = 0.05  # radians, at which a likelihood's tempered weight is 1
ANGLE_WEIGHT = 10.0  # a tenth of a radian counts like a factor e of probability
REFINED_ANGLE = 0.005  # radians, error of a refined match from which on it pulls less
REFINED_WEIGHT = 3.0  # of the plain error beside the likelihood


@dataclass(frozen=True)
class LossWeights:
    """Weights of the loss's terms."""

    pose: float = 1.0
    """Everything about the pose; 0 trains the matches alone, and no pose is computed."""
    stage: float = 0.5
    """Each rotation stage, beside the fused rotation's 1."""
    direction: float = 1.0
    plain: float = 1.0
    """The plain angle beside its likelihood."""
    warm_up: float = 10.0
    """The plain angle alone, before likelihoods count."""
    tempering: float = 0.5
    """Power of sigma that weighs a likelihood: 0 lets sure pairs drown the unsure, 1 makes all pull alike."""
    correspondence: float = 0.2
    """Attention's matches."""
    refinement: float = 0.2
    """Refined matches, every round."""


def rotation_likelihood(R_estimate: Tensor, sigma: Tensor, R_true: Tensor) -> Tensor:
    """Negative log likelihood (B,) of the error: independent Laplace axes of deviations sigma (B, 3)."""
    error = rotation_error(R_estimate, R_true).abs()
    return (math.sqrt(2.0) * error / sigma + sigma.log()).sum(dim=1)


def direction_likelihood(t_estimate: Tensor, sigma: Tensor, t_true: Tensor) -> Tensor:
    """Negative log likelihood (B,) of the direction error, isotropic and heavy-tailed in the tangent plane.

    The density exp(-sqrt(3) angle / sigma) / sigma^2 has variance sigma^2 along each of the plane's two axes.
    """
    return math.sqrt(3.0) * angle_between(t_estimate, t_true) / sigma + 2.0 * sigma.log()


def pose_loss(
    prediction: PosePrediction, target: PairTarget, weights: LossWeights, likelihood: float = 1.0
) -> Tensor:
    """Loss () of the fused rotation, both stages and the direction.

    Args:
        prediction: the network's output for B pairs.
        target: their true poses.
        weights: of the terms.
        likelihood: share of the likelihood beside the plain angles; 0 during warm-up, then 1.
    """
    stages = (
        (1.0, prediction.R_1_0, prediction.sigma_R),
        (weights.stage, prediction.R_stage1, prediction.sigma_stage1),
        (weights.stage, prediction.R_stage2, prediction.sigma_stage2),
    )
    moves = (length(target.t_1_0) > 1e-5).float()
    loss = weights.direction * moves * _direction_term(prediction, target, weights, likelihood)
    for weight, R, sigma in stages:
        loss = loss + weight * _rotation_term(R, sigma, target, weights, likelihood)
    return loss.mean()


def _direction_term(
    prediction: PosePrediction, target: PairTarget, weights: LossWeights, likelihood: float
) -> Tensor:
    nll = direction_likelihood(prediction.t_1_0, prediction.sigma_t, target.t_1_0)
    angle = angle_between(prediction.t_1_0, target.t_1_0)
    return _blend(nll, angle, prediction.sigma_t.log(), weights, likelihood)


def _rotation_term(
    R: Tensor, sigma: Tensor, target: PairTarget, weights: LossWeights, likelihood: float
) -> Tensor:
    nll = rotation_likelihood(R, sigma, target.R_1_0)
    angle = length(rotation_error(R, target.R_1_0))
    return _blend(nll, angle, sigma.log().mean(dim=1), weights, likelihood)


def _blend(nll: Tensor, angle: Tensor, log_sigma: Tensor, weights: LossWeights, likelihood: float) -> Tensor:
    """Likelihoods weighed by a power of sigma, and plain angles (all (B,)).

    The pull of a likelihood on the pose goes as 1 / sigma. Unweighed, pairs that are fitted well would take
    all of the gradient and hard ones be given up (Seitzer et al., "On the pitfalls of heteroscedastic
    uncertainty estimation", 2022).
    """
    weight = (weights.tempering * (log_sigma.detach() - math.log(REFERENCE_SIGMA))).exp()
    return likelihood * (weight * nll + weights.plain * angle) + (1.0 - likelihood) * weights.warm_up * angle


def correspondence_loss(correspondence: SoftCorrespondence, target: MatchTargets) -> Tensor:
    """Auxiliary loss () on the attention between visible cells: where it lies and which ray it means."""
    log_attention_0 = correspondence.logits.float().log_softmax(dim=2)
    log_attention_1 = correspondence.logits.float().transpose(1, 2).log_softmax(dim=2)
    loss_0 = _match_loss(log_attention_0, correspondence.view_0, target.view_0, correspondence.view_1)
    loss_1 = _match_loss(log_attention_1, correspondence.view_1, target.view_1, correspondence.view_0)
    return 0.5 * (loss_0 + loss_1)


def _match_loss(
    log_attention: Tensor, matches: MatchedRays, target: MatchTarget, other: MatchedRays
) -> Tensor:
    """Negative log probability of the true match, and the angle to its ray, which makes the mean exact."""
    visible = target.visible.flatten(1).float()
    height, width = other.own.shape[-2:]
    log_probability = _log_probability_at(log_attention, target.cells.flatten(1, 2), height, width)
    angle = angle_between(matches.matched.movedim(1, -1), target.rays.movedim(1, -1)).flatten(1)
    per_cell = (-log_probability).clamp(max=MAXIMAL_SURPRISE) + ANGLE_WEIGHT * angle
    return _mean(per_cell, visible)


def refinement_loss(refined: Sequence[SoftCorrespondence], target: MatchTargets) -> Tensor:
    """Loss () of the refined matches of every round: plain errors teach the step, likelihoods the deviation.

    Were the step to follow the likelihood too, both would settle at no step and large deviations, since many
    cells cannot be found. Hidden points count for the deviation only: it must say that nothing is found.
    """
    losses = [
        _ray_loss(matches, truth)
        for found in refined
        for matches, truth in ((found.view_0, target.view_0), (found.view_1, target.view_1))
    ]
    return torch.stack(losses).mean()


def _ray_loss(matches: MatchedRays, target: MatchTarget) -> Tensor:
    visible, known = target.visible.float(), target.known.float()
    matched, truth = matches.matched.movedim(1, -1), target.rays.movedim(1, -1)
    plain = (angle_between(matched, truth) / REFINED_ANGLE).log1p()
    nll = direction_likelihood(matched.detach(), matches.spread[:, 0], truth)
    return _mean(REFINED_WEIGHT * plain, visible) + _mean(nll, known)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (weights * values).sum() / weights.sum().clamp(min=1.0)


def _log_probability_at(log_attention: Tensor, cells: Tensor, height: int, width: int) -> Tensor:
    """Log of attention (B, N, H W) looked up bilinearly at fractional cells (B, N, 2): (B, N)."""
    corner = cells.floor()
    fraction = cells - corner
    terms = []
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = (fraction[..., 0] - (1 - dx)).abs() * (fraction[..., 1] - (1 - dy)).abs() * inside
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            looked_up = log_attention.gather(2, index[..., None])[..., 0]
            terms.append(looked_up + (weight + 1e-9).log())
    return torch.stack(terms).logsumexp(dim=0)

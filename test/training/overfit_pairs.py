"""Fits a network to a few fixed rendered pairs: without a bug it drives their errors to almost nothing.

Both orders of every pair are trained, so that afterwards swapping the views must invert the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iup_pose_ros.demo_scene.materials import photographs
from iup_pose_ros.demo_scene.rendered_pair import RenderedPair, concatenate, random_pair, random_scene
from iup_pose_ros.model.alignment import Features
from iup_pose_ros.model.iup_pose import IUPPose, PosePrediction
from iup_pose_ros.model.rotations import angle_between, length, rotate_vectors, rotation_error
from iup_pose_ros.training.losses import LossWeights, correspondence_loss, pose_loss, refinement_loss
from iup_pose_ros.training.targets import PairTarget

# Matches lead. Where poses pull harder, they are learnt by heart, and matches and their deviations decay.
WEIGHTS = LossWeights(correspondence=2.0, refinement=1.0, warm_up=3.0)


@dataclass(frozen=True)
class OverfitOptions:
    """What is fitted, and for how long."""

    pairs: int
    steps: int
    batch: int
    """Rendered pairs in one step, each in both orders."""
    width: int
    height: int
    learning_rate: float = 1e-3
    warm_up: float = 0.3
    """Share of the steps on plain angles before likelihoods."""
    fixed_statistics: float = 0.6
    """Share of the steps after which batch normalisation keeps its statistics, so that training sees what
    evaluation sees."""
    seed: int = 0


def fixed_pairs(options: OverfitOptions) -> RenderedPair:
    """The pairs to fit, half of them video, half wide baseline, one scene of photographs for every four."""
    generator = torch.Generator().manual_seed(options.seed)
    textures = [picture for _, picture in sorted(photographs().items())]
    pairs = []
    for index in range(options.pairs):
        if index % 4 == 0:
            scene = random_scene(textures, generator)
        regime = "video" if index % 2 == 0 else "wide"
        pairs.append(random_pair(scene, generator, options.width, options.height, regime))
    return concatenate(pairs)


@dataclass(frozen=True, eq=False)
class PairSet:
    """Rendered pairs as the network takes them, in both orders: first all as they are, then all swapped."""

    pairs: RenderedPair

    def predict(self, model: IUPPose, chosen: Tensor) -> PosePrediction:
        """The network's output for both orders of the chosen pairs; every view is encoded once."""
        K = self.pairs.K[chosen]
        features_0 = model.encode(self.pairs.image_0[chosen], K)
        features_1 = model.encode(self.pairs.image_1[chosen], K)
        both = [
            Features(*map(_joined, *order)) for order in ((features_0, features_1), (features_1, features_0))
        ]
        return model.match(*both)

    def target(self, chosen: Tensor) -> PairTarget:
        """Ground truth of both orders of the chosen pairs."""
        pairs = self.pairs
        R_1_0, t_1_0 = pairs.R_1_0[chosen], pairs.t_1_0[chosen]
        R_0_1 = R_1_0.transpose(1, 2)
        depth_0, depth_1, K = pairs.depth_0[chosen], pairs.depth_1[chosen], pairs.K[chosen].repeat(2, 1, 1)
        return PairTarget.from_depth(
            R_1_0=_joined(R_1_0, R_0_1),
            t_1_0=_joined(t_1_0, -rotate_vectors(R_0_1, t_1_0)),
            K_0=K,
            K_1=K,
            depth_0=_joined(depth_0, depth_1),
            depth_1=_joined(depth_1, depth_0),
        )

    def everything(self) -> Tensor:
        """Indices of all pairs."""
        return torch.arange(len(self.pairs.K))


def _joined(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second])


def overfit(model: IUPPose, pairs: PairSet, options: OverfitOptions) -> None:
    """Fit the model to the pairs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.steps, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(options.seed)
    for step in range(options.steps):
        model.train()
        if step >= options.fixed_statistics * options.steps:
            model.matcher.encoder.eval()
        chosen = torch.randperm(options.pairs, generator=generator)[: options.batch]
        loss = _loss(model, pairs, chosen, options, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _loss(model: IUPPose, pairs: PairSet, chosen: Tensor, options: OverfitOptions, step: int) -> Tensor:
    prediction, target = pairs.predict(model, chosen), pairs.target(chosen)
    warm_up = options.warm_up * options.steps
    loss = pose_loss(prediction, target, WEIGHTS, likelihood=min(1.0, step / warm_up))
    assert target.matches is not None, "rendered pairs have depth"
    loss = loss + WEIGHTS.correspondence * correspondence_loss(prediction.correspondence, target.matches)
    return loss + WEIGHTS.refinement * refinement_loss(prediction.refined, target.matches)


@torch.no_grad()
def evaluate(model: IUPPose, pairs: PairSet) -> Tensor:
    """Rotation and direction errors (2, B) in degrees of both orders of all pairs, in evaluation mode."""
    prediction, target = pairs.predict(model.eval(), pairs.everything()), pairs.target(pairs.everything())
    return pose_errors(prediction.R_1_0, prediction.t_1_0, target.R_1_0, target.t_1_0)


@torch.no_grad()
def swap_errors(model: IUPPose, pairs: PairSet) -> Tensor:
    """How far both orders of every pair are from inverse: rotation and direction (2, B / 2), degrees."""
    prediction = pairs.predict(model.eval(), pairs.everything())
    (R_1_0, R_0_1), (t_1_0, t_0_1) = prediction.R_1_0.chunk(2), prediction.t_1_0.chunk(2)
    return pose_errors(R_1_0, t_1_0, R_0_1.transpose(1, 2), -rotate_vectors(R_1_0, t_0_1))


def pose_errors(R: Tensor, t: Tensor, R_true: Tensor, t_true: Tensor) -> Tensor:
    """Rotation and direction errors (2, B) in degrees."""
    return torch.rad2deg(torch.stack([length(rotation_error(R, R_true)), angle_between(t, t_true)]))

"""The overfit check: a network without a bug drives a few fixed rendered pairs to almost no error.

    python -m iup_pose_ros.training.overfit --preset small

Both orders of every pair are trained, so that afterwards swapping the views must invert the pose.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from iup_pose_ros.demo_scene.materials import photographs
from iup_pose_ros.demo_scene.rendered_pair import RenderedPair, concatenate, random_pair, random_scene
from iup_pose_ros.model.config import IUPPoseConfig, preset
from iup_pose_ros.model.iup_pose import IUPPose, PosePrediction
from iup_pose_ros.model.rotations import angle_between, length, rotation_error, turned
from iup_pose_ros.training.imagenet import load_mobilenet_v2
from iup_pose_ros.training.losses import LossWeights, correspondence_loss, pose_loss, refinement_loss
from iup_pose_ros.training.targets import PairTarget

# Matches lead. Where poses pull harder, they are learnt by heart, and matches and their deviations decay.
WEIGHTS = LossWeights(correspondence=2.0, refinement=1.0, warm_up=3.0)


@dataclass(frozen=True)
class OverfitOptions:
    """What is fitted, and for how long."""

    pairs: int = 16
    steps: int = 1500
    batch: int = 8
    """Rendered pairs in one step, each in both orders."""
    width: int = 160
    height: int = 128
    learning_rate: float = 1e-3
    warm_up: float = 0.3
    """Share of the steps on plain angles before likelihoods."""
    fixed_statistics: float = 0.6
    """Share of the steps after which batch normalisation keeps its statistics, so that training sees what
    evaluation sees."""
    correspondence: bool = True
    """Whether the auxiliary loss is used."""
    seed: int = 0


@dataclass(frozen=True)
class OverfitResult:
    """Errors over the fitted pairs, degrees; swap: how far both orders are from being inverse."""

    steps: int
    minutes: float
    rotation_max: float
    rotation_median: float
    direction_max: float
    direction_median: float
    swap_rotation_median: float
    swap_direction_median: float


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
            type(features_0)(*map(_joined, *order))
            for order in ((features_0, features_1), (features_1, features_0))
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
            t_1_0=_joined(t_1_0, -turned(R_0_1, t_1_0)),
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


def overfit(
    model: IUPPose, pairs: PairSet, options: OverfitOptions, report: Callable[[int, float, Tensor], None]
) -> OverfitResult:
    """Fit the model to the pairs and measure it in evaluation mode; ``report`` gets step, loss and errors."""
    started = time.monotonic()
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.learning_rate, total_steps=options.steps, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(options.seed)
    for step in range(options.steps):
        model.train()
        if step >= options.fixed_statistics * options.steps:
            model.matcher.encoder.eval()
        chosen = torch.randperm(options.pairs, generator=generator)[: options.batch]
        loss = _loss(model, pairs, chosen, options, step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            report(step + 1, float(loss.detach()), evaluate(model, pairs))
    return _result(model, pairs, options.steps, (time.monotonic() - started) / 60.0)


def _loss(model: IUPPose, pairs: PairSet, chosen: Tensor, options: OverfitOptions, step: int) -> Tensor:
    prediction, target = pairs.predict(model, chosen), pairs.target(chosen)
    warm_up = options.warm_up * options.steps
    loss = pose_loss(prediction, target, WEIGHTS, likelihood=min(1.0, step / warm_up))
    if options.correspondence and target.matches is not None:
        loss = loss + WEIGHTS.correspondence * correspondence_loss(prediction.correspondence, target.matches)
        loss = loss + WEIGHTS.refinement * refinement_loss(prediction.refined, target.matches)
    return loss


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
    return pose_errors(R_1_0, t_1_0, R_0_1.transpose(1, 2), -turned(R_1_0, t_0_1))


def pose_errors(R: Tensor, t: Tensor, R_true: Tensor, t_true: Tensor) -> Tensor:
    """Rotation and direction errors (2, B) in degrees."""
    return torch.rad2deg(torch.stack([length(rotation_error(R, R_true)), angle_between(t, t_true)]))


def _result(model: IUPPose, pairs: PairSet, steps: int, minutes: float) -> OverfitResult:
    errors, swaps = evaluate(model, pairs), swap_errors(model, pairs).median(dim=1).values
    medians, maxima = errors.median(dim=1).values, errors.amax(dim=1)
    return OverfitResult(
        steps=steps,
        minutes=round(minutes, 2),
        rotation_max=float(maxima[0]),
        rotation_median=float(medians[0]),
        direction_max=float(maxima[1]),
        direction_median=float(medians[1]),
        swap_rotation_median=float(swaps[0]),
        swap_direction_median=float(swaps[1]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: fit, print progress, then the result as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", help="network to fit")
    parser.add_argument("--config", type=json.loads, default={}, help="changes of the preset, as JSON")
    parser.add_argument("--options", type=json.loads, default={}, help="fields of OverfitOptions, as JSON")
    parser.add_argument(
        "--imagenet", type=Path, help="MobileNetV2 weights to start from (training/imagenet.py)"
    )
    parsed = parser.parse_args(arguments)
    options = OverfitOptions(**parsed.options)
    config = IUPPoseConfig.from_dict({**preset(parsed.preset).to_dict(), **parsed.config})
    torch.manual_seed(options.seed)
    model = IUPPose(config)
    if parsed.imagenet:
        load_mobilenet_v2(model.matcher.encoder, parsed.imagenet)
    pairs = PairSet(fixed_pairs(options))
    print(json.dumps(asdict(overfit(model, pairs, options, _print_progress)), indent=2))


def _print_progress(step: int, loss: float, errors: Tensor) -> None:
    median, worst = errors.median(dim=1).values, errors.amax(dim=1)
    print(
        f"step {step}: loss {loss:.2f}, rotation median {median[0]:.2f} worst {worst[0]:.2f} deg, "
        f"direction median {median[1]:.2f} worst {worst[1]:.2f} deg",
        flush=True,
    )


if __name__ == "__main__":
    main()

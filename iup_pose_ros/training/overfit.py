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

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from iup_pose_ros.model.config import IUPPoseConfig, preset
from iup_pose_ros.model.iup_pose import IUPPose, PosePrediction
from iup_pose_ros.model.rotations import angle_between, length, rotation_error
from iup_pose_ros.rendering.pairs import RenderedPair, concatenate, random_pair, random_scene
from iup_pose_ros.training.imagenet import load_mobilenet_v2
from iup_pose_ros.training.losses import LossWeights, correspondence_loss, pose_loss
from iup_pose_ros.training.targets import PairTarget


@dataclass(frozen=True)
class OverfitOptions:
    """What is fitted, and for how long."""

    pairs: int = 16
    steps: int = 600
    batch: int = 16
    """Pairs in one step, drawn from both orders of the rendered ones."""
    width: int = 160
    height: int = 128
    learning_rate: float = 1e-3
    warm_up: float = 0.3
    """Share of the steps on plain angles before likelihoods."""
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


def photographs() -> list[NDArray[np.uint8]]:
    """The photographs inside the scikit-image package."""
    return [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.stereo_motorcycle()[0]]


def fixed_pairs(options: OverfitOptions, textures: Sequence[NDArray[np.uint8]]) -> RenderedPair:
    """The pairs to fit, half of them video, half wide baseline, one scene for every four."""
    generator = torch.Generator().manual_seed(options.seed)
    pairs = []
    for index in range(options.pairs):
        if index % 4 == 0:
            scene = random_scene(textures, generator)
        regime = "video" if index % 2 == 0 else "wide"
        pairs.append(random_pair(scene, generator, options.width, options.height, regime))
    return concatenate(pairs)


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs as the network takes them, with their targets; both orders of every rendered pair."""

    images: tuple[Tensor, Tensor]
    K: Tensor
    R_1_0: Tensor
    t_1_0: Tensor
    depths: tuple[Tensor, Tensor]

    @classmethod
    def from_rendered(cls, pair: RenderedPair) -> PairSet:
        """Rendered pairs followed by the same pairs in the other order."""
        R_0_1 = pair.R_1_0.transpose(1, 2)
        t_0_1 = -(R_0_1 @ pair.t_1_0[..., None])[..., 0]
        return cls(
            images=_both_orders(pair.image_0, pair.image_1),
            K=pair.K.repeat(2, 1, 1),
            R_1_0=torch.cat([pair.R_1_0, R_0_1]),
            t_1_0=torch.cat([pair.t_1_0, t_0_1]),
            depths=_both_orders(pair.depth_0, pair.depth_1),
        )

    def predict(self, model: IUPPose, chosen: Tensor) -> PosePrediction:
        """The network's output for the chosen pairs."""
        K = self.K[chosen]
        prediction: PosePrediction = model(self.images[0][chosen], K, self.images[1][chosen], K)
        return prediction

    def target(self, chosen: Tensor) -> PairTarget:
        """Ground truth of the chosen pairs."""
        K = self.K[chosen]
        depths = self.depths[0][chosen], self.depths[1][chosen]
        return PairTarget.from_depth(self.R_1_0[chosen], self.t_1_0[chosen], K, K, *depths)


def _both_orders(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([first, second]), torch.cat([second, first])


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
        chosen = torch.randperm(len(pairs.K), generator=generator)[: options.batch]
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
    weights = LossWeights()
    prediction, target = pairs.predict(model, chosen), pairs.target(chosen)
    warm_up = options.warm_up * options.steps
    loss = pose_loss(prediction, target, weights, likelihood=min(1.0, step / warm_up))
    if options.correspondence and target.matches is not None:
        loss = loss + weights.correspondence * correspondence_loss(prediction.correspondence, target.matches)
    return loss


@torch.no_grad()
def evaluate(model: IUPPose, pairs: PairSet) -> Tensor:
    """Rotation and direction errors (2, B) in degrees, in evaluation mode."""
    prediction = _predict_all(model, pairs)
    rotation = length(rotation_error(prediction.R_1_0, pairs.R_1_0))
    direction = angle_between(prediction.t_1_0, pairs.t_1_0)
    return torch.rad2deg(torch.stack([rotation, direction]))


def _predict_all(model: IUPPose, pairs: PairSet) -> PosePrediction:
    return pairs.predict(model.eval(), torch.arange(len(pairs.K)))


@torch.no_grad()
def swap_errors(model: IUPPose, pairs: PairSet) -> Tensor:
    """How far both orders of every pair are from inverse: rotation and direction (2, B / 2), degrees."""
    prediction = _predict_all(model, pairs)
    R_1_0, R_0_1 = prediction.R_1_0.chunk(2)
    t_1_0, t_0_1 = prediction.t_1_0.chunk(2)
    rotation = length(rotation_error(R_1_0, R_0_1.transpose(1, 2)))
    direction = angle_between(t_1_0, -(R_1_0 @ t_0_1[..., None])[..., 0])
    return torch.rad2deg(torch.stack([rotation, direction]))


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
        load_mobilenet_v2(model.encoder, parsed.imagenet)
    pairs = PairSet.from_rendered(fixed_pairs(options, photographs()))
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

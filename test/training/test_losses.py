from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iup_pose_ros.demo_scene.materials import photographs
from iup_pose_ros.demo_scene.rendered_pair import RenderedPair, concatenate, random_pair, random_scene
from iup_pose_ros.model.alignment import MATCH_STRIDE, Features
from iup_pose_ros.model.correspondence import SoftCorrespondence, match_rays
from iup_pose_ros.model.iup_pose import PosePrediction
from iup_pose_ros.model.rotations import exponential
from iup_pose_ros.training.losses import (
    LossWeights,
    correspondence_loss,
    direction_likelihood,
    pose_loss,
    rotation_likelihood,
)
from iup_pose_ros.training.targets import MatchTargets, PairTarget

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def pair() -> RenderedPair:
    generator = torch.Generator().manual_seed(3)
    scene = random_scene(list(photographs().values()), generator)
    return concatenate([random_pair(scene, generator, WIDTH, HEIGHT) for _ in range(2)])


@pytest.fixture(scope="module")
def matches(pair: RenderedPair) -> MatchTargets:
    target = PairTarget.from_depth(pair.R_1_0, pair.t_1_0, pair.K, pair.K, pair.depth_0, pair.depth_1)
    assert target.matches is not None
    return target.matches


def blank_features(K: Tensor) -> Features:
    empty = torch.zeros(len(K), 1, HEIGHT // MATCH_STRIDE, WIDTH // MATCH_STRIDE)
    return Features(empty, empty, empty, empty, empty, empty, K)


def correspondence(pair: RenderedPair, logits: Tensor) -> SoftCorrespondence:
    return match_rays(logits, blank_features(pair.K), blank_features(pair.K))


def true_logits(matches: MatchTargets, sharpness: float) -> Tensor:
    """Attention that peaks at the true cells of view 0's matches."""
    height, width = matches.view_1.visible.shape[1:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([u, v], dim=-1).reshape(-1, 2).float()
    return -sharpness * torch.cdist(matches.view_0.cells.flatten(1, 2), grid[None]).square()


def prediction(
    R: Tensor, t: Tensor, sigma_R: Tensor, sigma_t: Tensor, matched: SoftCorrespondence
) -> PosePrediction:
    return PosePrediction(R, t, sigma_R, sigma_t, R, sigma_R, R, sigma_R, matched, (matched,))


@pytest.mark.parametrize("sigma", [0.01, 0.2])
def test_rotation_likelihood_is_least_at_the_true_deviation(sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(20000, 3, generator=generator) - 0.5
    laplace = -uniform.sign() * torch.log1p(-2.0 * uniform.abs()) * sigma / math.sqrt(2.0)
    R_true = exponential(laplace)
    candidates = sigma * torch.tensor([0.7, 0.9, 1.0, 1.1, 1.4])
    losses = [
        rotation_likelihood(torch.eye(3), candidate.expand(1, 3), R_true).mean() for candidate in candidates
    ]
    assert int(torch.stack(losses).argmin()) == 2


def test_direction_likelihood_is_a_density_whose_deviation_per_axis_is_sigma() -> None:
    sigma = 0.05
    angle = torch.linspace(0.0, 1.5, 20001)
    directions = torch.stack([angle.sin(), torch.zeros_like(angle), angle.cos()], dim=1)
    forward = torch.tensor([0.0, 0.0, 1.0]).expand_as(directions)
    density = (-direction_likelihood(forward, torch.tensor(sigma), directions)).exp() * angle
    density = density / density.sum()
    per_axis = (0.5 * (density * angle.square()).sum()).sqrt()
    assert float(per_axis) == pytest.approx(sigma, rel=0.01)


def test_gradients_are_finite_at_the_exact_answer(pair: RenderedPair, matches: MatchTargets) -> None:
    values = [
        torch.eye(3).expand(2, 3, 3).clone().requires_grad_(),
        torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3).clone().requires_grad_(),
        torch.full((2, 3), 0.1, requires_grad=True),
        torch.full((2,), 0.1, requires_grad=True),
    ]
    logits = true_logits(matches, 5.0).requires_grad_()
    R, t, sigma_R, sigma_t = values
    exact = prediction(R, t, sigma_R, sigma_t, correspondence(pair, logits))
    target = PairTarget(torch.eye(3).expand(2, 3, 3), torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
    loss = pose_loss(exact, target, LossWeights()) + correspondence_loss(exact.correspondence, matches)
    loss.backward()
    for value in (*values, logits):
        assert value.grad is not None
        assert value.grad.isfinite().all()


def test_without_translation_the_direction_does_not_count(pair: RenderedPair, matches: MatchTargets) -> None:
    t = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3).clone().requires_grad_()
    R, ones = torch.eye(3).expand(2, 3, 3), torch.ones(2, 3)
    matched = correspondence(pair, true_logits(matches, 1.0))
    loss = pose_loss(
        prediction(R, t, ones, ones[:, 0], matched), PairTarget(R, torch.zeros(2, 3)), LossWeights()
    )
    loss.backward()
    assert t.grad is not None
    assert not t.grad.any()


def test_every_rotation_stage_is_supervised(pair: RenderedPair, matches: MatchTargets) -> None:
    stages = [
        exponential(torch.tensor([[0.1, 0.0, 0.0]])).expand(2, 3, 3).clone().requires_grad_() for _ in "123"
    ]
    sigmas = [torch.full((2, 3), 0.1, requires_grad=True) for _ in "123"]
    t = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    matched = correspondence(pair, true_logits(matches, 1.0))
    output = PosePrediction(
        *(stages[0], t, sigmas[0], torch.ones(2)),
        *(stages[1], sigmas[1], stages[2], sigmas[2]),
        *(matched, (matched,)),
    )
    pose_loss(output, PairTarget(torch.eye(3).expand(2, 3, 3), t), LossWeights()).backward()
    for value in (*stages, *sigmas):
        assert value.grad is not None
        assert value.grad.any()


def test_correspondence_loss_falls_as_attention_nears_the_truth(
    pair: RenderedPair, matches: MatchTargets
) -> None:
    losses = [
        float(correspondence_loss(correspondence(pair, true_logits(matches, sharpness)), matches))
        for sharpness in (0.0, 0.1, 1.0, 3.0)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.4 * losses[0]


def test_true_matches_agree_with_the_rendered_images(pair: RenderedPair, matches: MatchTargets) -> None:
    """Cells on top of each other's points show the same colours; the visible share follows the renderer's."""
    cells, visible = matches.view_0.cells, matches.view_0.visible
    centres = 0.5 * (pair.image_0[:, :, 3::8, 3::8] + pair.image_0[:, :, 4::8, 4::8])
    pixels = (cells + 0.5) * MATCH_STRIDE - 0.5
    extent = torch.tensor([WIDTH, HEIGHT])
    grid = (2.0 * pixels + 1.0) / extent - 1.0
    seen = torch.nn.functional.grid_sample(pair.image_1, grid, align_corners=False)
    difference = (seen - centres).abs().mean(dim=1)
    shifted = (seen.roll(1, dims=3) - centres).abs().mean(dim=1)
    assert difference[visible].mean() < 0.4 * shifted[visible].mean()
    assert abs(visible.float().mean() - pair.visible_0.float().mean()) < 0.12


def test_target_rays_satisfy_the_epipolar_constraint(pair: RenderedPair, matches: MatchTargets) -> None:
    own = match_rays(torch.zeros(2, 192, 192), blank_features(pair.K), blank_features(pair.K)).view_0.own
    turned = torch.einsum("bij,bjhw->bihw", pair.R_1_0, own)
    normal = torch.linalg.cross(turned, matches.view_0.rays, dim=1)
    t = torch.nn.functional.normalize(pair.t_1_0, dim=1)
    assert torch.einsum("bchw,bc->bhw", normal, t).abs().max() < 1e-5

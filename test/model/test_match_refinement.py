from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.alignment import DETAIL_LEARNED, MATCH_STRIDE, Features
from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.match_refinement import (
    MatchRefinement,
    back_project,
    correlations,
    project,
    window_offsets,
)
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays
from iup_pose_ros.training.losses import refinement_loss
from iup_pose_ros.training.targets import MatchTarget, MatchTargets

HEIGHT, WIDTH = 64, 96
SIZE = (HEIGHT // MATCH_STRIDE, WIDTH // MATCH_STRIDE)
SHIFT = 4.0  # pixels by which what view 0 shows lies further left and up in view 1
K = torch.tensor([[[70.0, 0.0, 46.0], [0.0, 72.0, 30.0], [0.0, 0.0, 1.0]]])


def detail(field: Tensor, stride: int) -> Tensor:
    """Descriptors of a random field (1, C, HEIGHT, WIDTH) at a stride; nothing is learned."""
    unit = functional.normalize(functional.avg_pool2d(field, stride), dim=1)
    return torch.cat([unit, torch.zeros(1, DETAIL_LEARNED, *unit.shape[-2:])], dim=1)


def shifted_pair(seed: int, plain_from: int = WIDTH) -> tuple[Features, Features]:
    """Two views of one texture, which is plain from a column on."""
    noise = torch.randn(1, 24, HEIGHT // 4 + 4, WIDTH // 4 + 4, generator=torch.Generator().manual_seed(seed))
    field = functional.interpolate(noise, scale_factor=4.0, mode="bicubic")
    field = torch.where(torch.arange(field.shape[-1]) < plain_from, field, 1.0)
    empty = torch.zeros(1, 1, *SIZE)

    def features(start: int) -> Features:
        seen = field[..., start : start + HEIGHT, start : start + WIDTH]
        return Features(empty, empty, detail(seen, 4), detail(seen, 2), empty, empty, K)

    return features(0), features(int(SHIFT))


def own_rays() -> Tensor:
    return unit_rays(intrinsics_at_stride(K, MATCH_STRIDE), *SIZE)


def moved(pixels: Tensor | float) -> Tensor:
    """The rays of a view's cells, moved to the right and down."""
    return back_project(project(own_rays(), K) + pixels, K)


def rough_start(seed: int, noise: float = 2.5) -> SoftCorrespondence:
    """Matches that are wrong by pixels."""
    generator = torch.Generator().manual_seed(seed)
    ones = torch.ones(1, 1, *SIZE)
    wrong = [step + noise * torch.randn(1, 2, *SIZE, generator=generator) for step in (-SHIFT, SHIFT)]
    view_0, view_1 = (MatchedRays(own_rays(), moved(pixels), ones, 0.05 * ones) for pixels in wrong)
    return SoftCorrespondence(view_0, view_1, torch.zeros(1, 1, 1))


def errors(matches: MatchedRays) -> Tensor:
    """Errors (H, W) of view 0's matches, pixels, without the outermost cells."""
    away = project(matches.matched, K) - project(moved(-SHIFT), K)
    return away.norm(dim=1)[0, 1:-1, 1:-1]


def test_correlations_are_those_of_interpolated_descriptors() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(2, 4, 5, 6, generator=generator)
    detail = torch.randn(2, 4, 16, 20, generator=generator)
    places = torch.rand(2, 2, 5, 6, generator=generator) * 12.0 + 2.0
    found = correlations(queries, detail, places)
    for number, offset in enumerate(window_offsets(places)):
        grid = (2.0 * (places.movedim(1, -1) + offset) + 1.0) / torch.tensor([20, 16]) - 1.0
        sampled = functional.grid_sample(detail, grid, padding_mode="border", align_corners=False)
        assert torch.allclose(found[:, number], (sampled * queries).sum(dim=1), atol=1e-4)


def test_projection_and_its_inverse_agree() -> None:
    assert torch.allclose(back_project(project(own_rays(), K), K), own_rays(), atol=1e-6)


@torch.no_grad()
def test_untrained_every_round_brings_matches_nearer_by_the_encoders_features_alone() -> None:
    torch.manual_seed(0)
    start = rough_start(0)
    rounds = MatchRefinement()(start, *shifted_pair(0))
    medians = [float(errors(found.view_0).median()) for found in (start, *rounds)]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 0.4 * medians[0]


def test_deviations_learn_where_nothing_can_be_found() -> None:
    """Half of the texture is plain: no step helps there, and after some training the deviation says so."""
    torch.manual_seed(0)
    refinement = MatchRefinement()
    optimizer = torch.optim.Adam(refinement.parameters(), 3e-3)
    known = torch.ones(1, *SIZE, dtype=torch.bool)
    truth = MatchTargets(
        *(MatchTarget(torch.zeros(1), moved(step), known, known) for step in (-SHIFT, SHIFT))
    )
    for step in range(100):
        refined = refinement(rough_start(step), *shifted_pair(step, plain_from=WIDTH // 2))
        optimizer.zero_grad()
        refinement_loss(refined, truth).backward()
        optimizer.step()
    found, half = refined[-1].view_0, SIZE[1] // 2
    error, spread = errors(found), found.spread[0, 0, 1:-1, 1:-1]
    assert error[:, : half - 2].median() < 0.5 * error[:, half + 1 :].median()
    assert spread[:, : half - 2].median() < 0.5 * spread[:, half + 1 :].median()

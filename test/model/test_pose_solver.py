from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.epipolar_planes import EpipolarPlanes
from iup_pose_ros.model.pose_solver import fall_back_to_solved, solve_pose
from iup_pose_ros.model.ray_matches import RayMatches, matches_of_cells
from iup_pose_ros.model.realignment import PoseState
from iup_pose_ros.model.rotations import angle_between, exponential, perturb, rotate_vectors, rotation_error

BATCH, HEIGHT, WIDTH = 6, 12, 16
DEGREE = torch.pi / 180.0


def scene(turn: float, baseline: float, flat: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points (B, N, 3) before camera 0, their depths 2 to 6, or a tilted plane; R_1_0 and t_1_0."""
    generator = torch.Generator().manual_seed(1)
    plane = torch.rand(BATCH, HEIGHT * WIDTH, 2, generator=generator) * 2.0 - 1.0
    rays = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=2)
    depth = 2.0 + 4.0 * torch.rand(BATCH, HEIGHT * WIDTH, 1, generator=generator)
    if flat:
        depth = 3.0 / (1.0 + 0.3 * plane[..., :1])
    R = exponential(turn * normalize(torch.randn(BATCH, 3, generator=generator), dim=1))
    t = baseline * normalize(torch.randn(BATCH, 3, generator=generator), dim=1)
    return rays * depth, rays, R, t


def matched(
    points: Tensor, R: Tensor, t: Tensor, noise: float = 0.0, wrong: float = 0.0
) -> SoftCorrespondence:
    """Matches of view 0's points, noise in radians; a share is wrong, and said to be less sure."""
    generator = torch.Generator().manual_seed(2)
    rays_0, rays_1 = (
        normalize(points, dim=2),
        normalize(rotate_vectors(R[:, None], points) + t[:, None], dim=2),
    )
    rays_1 = normalize(rays_1 + noise * torch.randn(rays_1.shape, generator=generator), dim=2)
    astray = torch.rand(rays_1.shape[:2], generator=generator) < wrong
    rays_1[astray] = normalize(torch.randn(int(astray.sum()), 3, generator=generator), dim=1)
    spread = torch.where(astray, 3.0, 1.0) * max(noise, 0.001)

    def listed(own: Tensor, other: Tensor) -> MatchedRays:
        values = (own, other, torch.ones_like(spread)[..., None], spread[..., None])
        return MatchedRays(*(value.transpose(1, 2).unflatten(2, (HEIGHT, WIDTH)) for value in values))

    return SoftCorrespondence(listed(rays_0, rays_1), listed(rays_1, rays_0), torch.zeros(BATCH, 1, 1))


def listed(points: Tensor, R: Tensor, t: Tensor, noise: float = 0.0, wrong: float = 0.0) -> RayMatches:
    """``matched`` as the solver takes it."""
    return matches_of_cells(matched(points, R, t, noise, wrong))


def prior() -> PoseState:
    R = torch.eye(3).expand(BATCH, 3, 3)
    return PoseState(R, torch.zeros(BATCH, 3), torch.full((BATCH, 3), 0.3), torch.ones(BATCH, 1))


def errors(pose: PoseState, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and direction errors (B,) in degrees."""
    rotation = rotation_error(pose.R_1_0, R).norm(dim=1)
    return rotation / DEGREE, angle_between(rotate_vectors(pose.R_1_0, pose.direction), t) / DEGREE


@pytest.mark.parametrize(("turn", "baseline"), [(0.0, 0.2), (0.15, 0.2), (0.8, 1.5), (1.2, 0.5)])
def test_exact_matches_give_the_exact_pose(turn: float, baseline: float) -> None:
    points, _, R, t = scene(turn, baseline)
    rotation, direction = errors(solve_pose(listed(points, R, t), prior()), R, t)
    assert rotation.max() < 0.02
    assert direction.max() < 0.2


def test_on_a_plane_one_of_the_two_possible_poses_is_found() -> None:
    points, _, R, t = scene(0.1, 0.3, flat=True)
    pose = solve_pose(listed(points, R, t), prior())
    rays_1 = normalize(rotate_vectors(R[:, None], points) + t[:, None], dim=2)
    t_found = rotate_vectors(pose.R_1_0, pose.direction)
    error, _ = EpipolarPlanes.of(normalize(points, dim=2), rays_1, pose.R_1_0, t_found).errors()
    assert error.abs().mean() < 2e-4


def test_pure_rotation_is_found_with_an_uncertain_direction() -> None:
    points, _, R, t = scene(0.3, 0.0)
    pose = solve_pose(listed(points, R, t, noise=0.002), prior())
    assert errors(pose, R, t)[0].max() < 0.5
    moving = solve_pose(listed(points, R, 0.5 * normalize(torch.ones(BATCH, 3), dim=1), noise=0.002), prior())
    assert (pose.sigma_t / moving.sigma_t).median() > 4.0


def test_noise_and_wrong_matches_are_borne() -> None:
    points, _, R, t = scene(0.2, 0.5)
    pose = solve_pose(listed(points, R, t, noise=0.003, wrong=0.2), prior())
    rotation, direction = errors(pose, R, t)
    assert rotation.median() < 0.5
    assert direction.median() < 3.0


def test_a_pose_stands_unless_the_matches_contradict_it() -> None:
    points, _, R, t = scene(0.2, 0.5)
    matches = listed(points, R, t, noise=0.003, wrong=0.1)
    solved = solve_pose(matches, prior())
    turn = torch.tensor([0.0005, 0.0, 0.0]).repeat(BATCH, 1)
    turn[1::3] = torch.tensor([0.0, 0.2, 0.0])  # far off
    turn[2::3] = torch.nan
    pose = PoseState(
        perturb(solved.R_1_0, turn),
        normalize(solved.direction + 1e-3, dim=1),
        2.0 * solved.sigma_R,
        2.0 * solved.sigma_t,
    )
    kept = fall_back_to_solved(matches, pose, solved)
    for found, own, other in zip(kept, pose, solved, strict=True):
        assert torch.equal(found[0::3], own[0::3])
        assert torch.equal(found[1::3], other[1::3])
        assert torch.equal(found[2::3], other[2::3])


def test_deviations_never_exceed_the_prior() -> None:
    points, _, R, t = scene(0.2, 0.5)
    pose = solve_pose(listed(points, R, t, noise=1.0), prior())
    assert (pose.sigma_R <= prior().sigma_R).all()
    assert (pose.sigma_t <= prior().sigma_t).all()


@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_gradients_reach_matches_and_deviations_and_are_finite(baseline: float) -> None:
    points, _, R, t = scene(0.0, baseline)
    correspondence = matched(points, R, t)
    view = correspondence.view_0
    rays, spread = view.matched.clone().requires_grad_(), view.spread.clone().requires_grad_()
    noisy = rays + 0.003 * torch.randn(rays.shape, generator=torch.Generator().manual_seed(3))
    view = view._replace(matched=normalize(noisy, dim=1), spread=spread)
    pose = solve_pose(matches_of_cells(correspondence._replace(view_0=view)), prior())
    (rotation_error(pose.R_1_0, R).sum() + pose.direction.sum() + pose.sigma_t.sum()).backward()
    for value in (rays, spread):
        assert value.grad is not None
        assert value.grad.isfinite().all()
        assert value.grad.any()


def test_matches_count_by_their_deviations() -> None:
    """Half of the matches are noisy, and say so: the pose is that of the others."""
    points, _, R, t = scene(0.2, 0.5)
    sharp, noisy = matched(points, R, t, noise=0.001), matched(points, R, t, noise=0.05)
    untold = noisy.view_1._replace(spread=sharp.view_1.spread)
    informed, misled = (
        errors(solve_pose(matches_of_cells(sharp._replace(view_1=view)), prior()), R, t)[1].mean()
        for view in (noisy.view_1, untold)
    )
    assert informed < 1.0
    assert informed < misled

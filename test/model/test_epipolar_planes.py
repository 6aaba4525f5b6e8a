from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from iup_pose_ros.model.epipolar_planes import EpipolarPlanes, tangent_basis
from iup_pose_ros.model.rotations import exponential, perturb, rotate_vectors

BATCH, MATCHES = 3, 50


def scene() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rays (B, N, 3) of both views to points before both cameras; R_1_0 and unit t_1_0."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2.0 - 1.0

    points = random(BATCH, MATCHES, 3) + torch.tensor([0.0, 0.0, 4.0])
    R, t = exponential(0.2 * random(BATCH, 3)), normalize(random(BATCH, 3), dim=1)
    rays_1 = normalize(rotate_vectors(R[:, None], points) + 0.5 * t[:, None], dim=2)
    return normalize(points, dim=2), rays_1, R, t


def test_exact_matches_have_no_error_and_meet_in_front() -> None:
    planes = EpipolarPlanes.of(*scene())
    error, _ = planes.errors()
    assert error.shape == (BATCH, MATCHES)
    assert error.abs().max() < 1e-12
    assert planes.in_front.all()


def test_with_the_opposite_direction_rays_meet_behind() -> None:
    rays_0, rays_1, R, t = scene()
    planes = EpipolarPlanes.of(rays_0, rays_1, R, -t)
    assert planes.products.abs().max() < 1e-12
    assert not planes.in_front.any()


def test_of_rays_without_parallax_it_cannot_be_told_where_they_meet() -> None:
    rays_0, _, R, t = scene()
    planes = EpipolarPlanes.of(rays_0, rotate_vectors(R[:, None], rays_0), R, -t)
    assert planes.in_front.all()


def test_many_poses_of_the_same_matches_are_taken_at_once() -> None:
    rays_0, rays_1, R, t = scene()
    poses = [(R, t), (perturb(R, torch.full_like(t, 0.1)), -t)]
    both = EpipolarPlanes.of(
        rays_0[:, None], rays_1[:, None], *(torch.stack(part, dim=1) for part in zip(*poses, strict=True))
    )
    for index, pose in enumerate(poses):
        alone = EpipolarPlanes.of(rays_0, rays_1, *pose)
        assert torch.allclose(both.products[:, index], alone.products)
        assert torch.allclose(both.squared_sines[:, index], alone.squared_sines)
        assert torch.equal(both.in_front[:, index], alone.in_front)
        for found, expected in zip(both.errors(), alone.errors(), strict=True):
            assert torch.allclose(found[:, index], expected)


def test_derivatives_of_the_error_are_right() -> None:
    """Up to the normalisation, which steps hold fixed: near the solution it hardly changes."""
    rays_0, rays_1, R, t = scene()
    error, jacobian = EpipolarPlanes.of(rays_0, rays_1, R, t).errors()
    for index, step in enumerate(torch.eye(5, dtype=torch.float64) * 1e-6):
        R_moved = perturb(R, step[:3].expand(BATCH, 3))
        t_moved = normalize(t + tangent_basis(t) @ step[3:], dim=1)
        moved, _ = EpipolarPlanes.of(rays_0, rays_1, R_moved, t_moved).errors()
        assert torch.allclose((moved - error) / 1e-6, jacobian[..., index], atol=1e-4)

"""A pose from the soft correspondence alone: where stage 1 may start instead of identity (beyond the paper).

Two hypotheses, the weighted eight-point algorithm and a rotation without parallax, are refined by robust
Gauss-Newton steps on the epipolar error; the lower error wins. Procrustes alone would not do:
where a camera circles an object rotation and translation cancel. All but a last step run without gradient; at
a solution that step has the gradient of the whole solve with respect to matches and weights.
Sources: Hartley and Zisserman, "Multiple View Geometry", sections 9.6 and 11.2; Triggs et al., "Bundle
adjustment", 2000.
"""

from __future__ import annotations

from typing import NamedTuple

import roma
import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.correspondence import MatchedRays, SoftCorrespondence
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.realignment import PoseState
from iup_pose_ros.model.rotations import exponential, length

REWEIGHTINGS = 3
NEWTON_STEPS = 6
DAMPING = 1e-3  # relative to the information
LARGEST_STEP = 0.3  # radians
SPREAD_SCALE = 0.05  # radians of attention's spread at which a match counts half
NOISE_FLOOR = 0.002  # radians, least scale of the robust kernel
COST_SCALE = 0.005  # radians, scale of the kernel by which hypotheses are compared
EPIPOLE_FLOOR = 0.05  # sine of the angle to the epipole below which a match says little about its plane
CELLS_PER_OBSERVATION = 16.0  # neighbouring cells err alike; so many count as one independent match


class RayMatches(NamedTuple):
    """Unit rays in view 0 and view 1, (B, N, 3) each, with weights (B, N) in [0, 1]."""

    rays_0: Tensor
    rays_1: Tensor
    weights: Tensor


def solve_pose(correspondence: SoftCorrespondence, prior: PoseState) -> PoseState:
    """The pose that the matches of both views agree on best, with deviations no larger than the prior's."""
    with full_precision(correspondence.logits):
        matches = gather_matches(correspondence)
        with torch.no_grad():
            hypotheses = [refine(matches, *eight_point(matches)), refine(matches, *rotation_first(matches))]
            R, t = cheaper(matches, *hypotheses)
            t = face_forward(matches, R, t)
        R, t, information = newton_step(matches, R, t)
    direction = (R.transpose(1, 2) @ t[..., None])[..., 0]
    precision = torch.cat([prior.sigma_R, prior.sigma_t.expand(-1, 2)], dim=1).square().reciprocal()
    variance = torch.linalg.inv(information + torch.diag_embed(precision)).diagonal(dim1=1, dim2=2)
    sigma_t = variance[:, 3:].mean(dim=1, keepdim=True).sqrt()
    return PoseState(R, direction, variance[:, :3].sqrt(), sigma_t)


def gather_matches(correspondence: SoftCorrespondence) -> RayMatches:
    """The matches of both views' cells together, N = N_0 + N_1."""
    view_0, view_1 = correspondence.view_0, correspondence.view_1
    return RayMatches(
        torch.cat([_listed(view_0.own), _listed(view_1.matched)], dim=1),
        torch.cat([_listed(view_0.matched), _listed(view_1.own)], dim=1),
        torch.cat([_weights(view_0), _weights(view_1)], dim=1),
    )


def rotation_first(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Robust Procrustes rotation (B, 3, 3), and the direction (B, 3) that fits what parallax it leaves.

    The direction is the one most orthogonal to the normals (R x_0) x x_1 of the epipolar planes.
    """
    R = _weighted_procrustes(matches, matches.weights)
    for _ in range(REWEIGHTINGS):
        residual = length(matches.rays_1 - matches.rays_0 @ R.transpose(1, 2))
        R = _weighted_procrustes(matches, _robust_precision(residual, matches.weights))
    normals = torch.linalg.cross(matches.rays_0 @ R.transpose(1, 2), matches.rays_1)
    weights = matches.weights / (normals.square().sum(dim=2) + NOISE_FLOOR**2)
    scatter = (weights[..., None] * normals).transpose(1, 2) @ normals
    return R, torch.linalg.eigh(scatter).eigenvectors[:, :, 0]


def eight_point(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and direction (B, 3) by the eight-point algorithm, robustly reweighted."""
    R, t = _essential_pose(matches, matches.weights)
    for _ in range(REWEIGHTINGS):
        R, t = _essential_pose(matches, _robust_precision(epipolar_error(matches, R, t)[0], matches.weights))
    return R, t


def _essential_pose(matches: RayMatches, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pose of the essential matrix of least algebraic error that has most points in front of the cameras."""
    products = (matches.rays_1[..., :, None] * matches.rays_0[..., None, :]).flatten(2).double()
    scatter = (weights[..., None] * products).transpose(1, 2) @ products
    essential = torch.linalg.eigh(scatter).eigenvectors[:, :, 0].unflatten(1, (3, 3))
    U, _, Vh = torch.linalg.svd(essential.to(matches.rays_0.dtype))
    U, Vh = (matrix * torch.linalg.det(matrix)[:, None, None] for matrix in (U, Vh))
    quarter_turn = U.new_tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    t = U[:, :, 2]
    first, second = U @ quarter_turn @ Vh, U @ quarter_turn.T @ Vh
    in_front = [
        _share_in_front(matches, R, t).maximum(_share_in_front(matches, R, -t)) for R in (first, second)
    ]
    return torch.where((in_front[0] >= in_front[1])[:, None, None], first, second), t


def refine(matches: RayMatches, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and direction after NEWTON_STEPS steps."""
    for _ in range(NEWTON_STEPS):
        R, t, _ = newton_step(matches, R, t)
    return R, t


def cheaper(
    matches: RayMatches, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """For each pair the hypothesis (rotation, direction) with the lower robust epipolar error."""
    costs = []
    for R, t in (first, second):
        error = epipolar_error(matches, R, t)[0]
        costs.append((matches.weights * (error / COST_SCALE).square().log1p()).sum(dim=1))
    keep = costs[0] <= costs[1]
    R = torch.where(keep[:, None, None], first[0], second[0])
    return R, torch.where(keep[:, None], first[1], second[1])


def face_forward(matches: RayMatches, R: Tensor, t: Tensor) -> Tensor:
    """The sign of t (B, 3) with which more of the parallax comes from points in front of the cameras."""
    parallax = matches.rays_1 - matches.rays_0 @ R.transpose(1, 2)
    along = (matches.weights[..., None] * parallax * t[:, None]).sum(dim=(1, 2))
    return torch.where(along[:, None] < 0.0, -t, t)


def newton_step(matches: RayMatches, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One damped Gauss-Newton step on the epipolar error: rotation, direction and information (B, 5, 5)."""
    error, jacobian = epipolar_error(matches, R, t)
    weighted = _robust_precision(error.detach(), matches.weights)[..., None] * jacobian
    information = weighted.transpose(1, 2) @ jacobian
    gradient = (weighted * error[..., None]).sum(dim=1)
    damped = information + torch.diag_embed(DAMPING * information.diagonal(dim1=1, dim2=2) + 1e-6)
    step = -torch.linalg.solve(damped, gradient[..., None])[..., 0]
    step = step / (length(step)[:, None] / LARGEST_STEP).clamp(min=1.0)
    moved = t + (tangent_basis(t) @ step[:, 3:, None])[..., 0]
    return R @ exponential(step[:, :3]), functional.normalize(moved, dim=1), information


def epipolar_error(matches: RayMatches, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Error (B, N), about the angle of rays to their epipolar planes, and its derivatives (B, N, 5).

    The error is x_1 . (t x R x_0) over the norm of both planes' normals. The derivatives are by delta in
    R Exp(delta) and by two coordinates of t in its tangent plane.
    """
    turned = matches.rays_0 @ R.transpose(1, 2)
    direction = t[:, None].expand_as(turned)
    plane_0, plane_1 = torch.linalg.cross(direction, turned), torch.linalg.cross(direction, matches.rays_1)
    sines = plane_0.square().sum(dim=2) + plane_1.square().sum(dim=2)
    scale = (sines + EPIPOLE_FLOOR**2).rsqrt()[..., None]
    by_rotation = torch.linalg.cross(matches.rays_0, -plane_1 @ R)
    by_direction = torch.linalg.cross(turned, matches.rays_1) @ tangent_basis(t)
    error = (plane_0 * matches.rays_1 * scale).sum(dim=2)
    return error, torch.cat([by_rotation, by_direction], dim=2) * scale


def tangent_basis(t: Tensor) -> Tensor:
    """Two unit vectors (B, 3, 2) orthogonal to unit t (B, 3) and each other."""
    axis = functional.one_hot(t.abs().argmin(dim=1), 3).to(t.dtype)
    first = functional.normalize(torch.linalg.cross(t, axis), dim=1)
    return torch.stack([first, torch.linalg.cross(t, first)], dim=2)


def _listed(rays: Tensor) -> Tensor:
    return rays.flatten(2).transpose(1, 2)


def _weights(matches: MatchedRays) -> Tensor:
    """Weights (B, N) in [0, 1]: matches that both directions confirm and that attention does not smear."""
    sharpness = 1.0 / (1.0 + (matches.spread / SPREAD_SCALE).square())
    return (matches.confidence * sharpness).flatten(1)


def _weighted_procrustes(matches: RayMatches, weights: Tensor) -> Tensor:
    moment = (weights[..., None] * matches.rays_1).transpose(1, 2) @ matches.rays_0
    R: Tensor = roma.special_procrustes(moment)
    return R


def _share_in_front(matches: RayMatches, R: Tensor, t: Tensor) -> Tensor:
    """Weight (B,) of the matches whose rays meet in front of both cameras."""
    turned = matches.rays_0 @ R.transpose(1, 2)
    direction = t[:, None].expand_as(turned)
    normals = torch.linalg.cross(matches.rays_1, turned)
    depth_0 = (torch.linalg.cross(direction, matches.rays_1) * normals).sum(dim=2)
    depth_1 = (torch.linalg.cross(direction, turned) * normals).sum(dim=2)
    return (matches.weights * ((depth_0 > 0.0) & (depth_1 > 0.0))).sum(dim=1)


def _robust_precision(error: Tensor, weights: Tensor) -> Tensor:
    """Precision (B, N) of each match: Cauchy weight at the scale of the errors' weighted median."""
    scale = 1.5 * _weighted_median(error.abs(), weights) + NOISE_FLOOR
    return weights / (scale.square() + error.square()) / CELLS_PER_OBSERVATION


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The value (B, 1) below which lies half the weight; values and weights (B, N)."""
    ascending, order = values.sort(dim=1)
    below = weights.detach().gather(1, order).cumsum(dim=1)
    middle = (below < 0.5 * below[:, -1:]).sum(dim=1, keepdim=True)
    return ascending.gather(1, middle)

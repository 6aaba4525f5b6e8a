"""Differentiable pose solver on the matches, as initial pose of stage 1 (beyond the paper).

Hypotheses are poses of essential matrices of five matches each, and the rotation-only solution combined with
26 directions. The best ones are refined by robust Gauss-Newton steps on the epipolar error; the result is
the one of minimum cost. Many hypotheses are required because the cost has several minima: where a camera
orbits an object rotation and translation cancel, and a plane has two solutions. Only the last step has a
gradient; at the minimum it equals the gradient of the complete solution by matches and variances.
Sources: Hartley and Zisserman, "Multiple View Geometry", sections 9.6 and 11.2; Triggs et al., "Bundle
adjustment", 2000; Torr and Zisserman, "MLESAC", 2000.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.epipolar_planes import EpipolarPlanes, tangent_basis
from iup_pose_ros.model.five_point import five_point
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.ray_matches import RayMatches, chosen
from iup_pose_ros.model.realignment import PoseState
from iup_pose_ros.model.rotations import exponential, length, rotate_vectors

SEARCH_MATCHES = 256  # number of matches, spread over the images, that create and rank hypotheses
SAMPLES = 256  # number of samples of five matches, drawn by weight
ESSENTIALS = 32  # number of essential matrices that are decomposed into poses
REFINED = 32  # number of hypotheses that are refined
FINALISTS = 8  # number of refined hypotheses that are compared on all matches
SEARCH_WIDTHS = (2.0, 1.5, 1.0, 1.0)  # relative widths of the robust kernel per refinement step
FINAL_WIDTHS = (1.5, 1.0, 1.0, 1.0)  # the same for refinement on all matches
DAMPING = 1e-3  # relative to the information
MAXIMUM_STEP = 0.3  # radians, of rotation and direction together
MAXIMUM_ERROR = 3.0  # standard deviations beyond which a match is an outlier
CONTRADICTION = 20.5  # 99.9 % quantile of the chi-square distribution with the pose's 5 degrees of freedom


def solve_pose(matches: RayMatches, prior: PoseState) -> PoseState:
    """Return the pose of minimum robust cost; the prior's sigmas limit its standard deviations."""
    with full_precision(matches.rays_0):
        with torch.no_grad():
            R, t = search(matches)
        R, t, information = newton_step(matches, R, t)
    direction = (R.transpose(1, 2) @ t[..., None])[..., 0]
    precision = torch.cat([prior.sigma_R, prior.sigma_t.expand(-1, 2)], dim=1).square().reciprocal()
    variance = torch.linalg.inv(information + torch.diag_embed(precision)).diagonal(dim1=1, dim2=2)
    sigma_t = variance[:, 3:].mean(dim=1, keepdim=True).sqrt()
    return PoseState(R, direction, variance[:, :3].sqrt(), sigma_t)


def fall_back_to_solved(matches: RayMatches, pose: PoseState, solved: PoseState) -> PoseState:
    """Replace a pose by the solved one where its cost is significantly higher, or it is not finite."""
    with full_precision(matches.rays_0):
        R = torch.stack([pose.R_1_0, solved.R_1_0], dim=1)
        direction = torch.stack([pose.direction, solved.direction], dim=1)
        cost, cost_solved = robust_cost(matches, R, rotate_vectors(R, direction)).unbind(dim=1)
    contradicted = MAXIMUM_ERROR**2 * (cost - cost_solved) > CONTRADICTION
    return PoseState(
        *(
            torch.where(contradicted.view(-1, *[1] * (kept.dim() - 1)), other, kept)
            for kept, other in zip(pose, solved, strict=True)
        )
    )


def search(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Return rotation (B, 3, 3) and direction (B, 3) near the minimum of the robust cost."""
    spread = thin_out(matches, SEARCH_MATCHES)
    R, t = _minimum_cost(spread, *hypotheses(spread), REFINED)
    R, t = _minimum_cost(spread, *_refined(spread, R, t, SEARCH_WIDTHS), FINALISTS)
    R, t = _minimum_cost(matches, *_refined(matches, R, t, FINAL_WIDTHS), 1)
    return R[:, 0], t[:, 0]


def thin_out(matches: RayMatches, count: int) -> RayMatches:
    """Return about ``count`` matches: the one of maximum weight of each group of consecutive matches."""
    total = matches.variances.shape[1]
    size = max(1, total // count)
    place = matches.weights[:, : total - total % size].unflatten(1, (-1, size)).argmax(dim=2)
    return matches.chosen(place + size * torch.arange(place.shape[1], device=place.device))


def hypotheses(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Return initial rotations (B, K, 3, 3) and directions (B, K, 3)."""
    R_sampled, t_sampled = decompose_essential(sampled_essentials(matches))
    R_fitted, t_grid = procrustes_with_directions(matches)
    return torch.cat([R_sampled, R_fitted], dim=1), torch.cat([t_sampled, t_grid], dim=1)


def sampled_essentials(matches: RayMatches) -> Tensor:
    """Return the essential matrices (B, ESSENTIALS, 3, 3) of minimum cost of samples of five matches."""
    places = sample_indices(matches.weights).flatten(1)
    samples = (chosen(rays, places).unflatten(1, (-1, 5)).flatten(0, 1) for rays in matches[:2])
    E = five_point(*samples).unflatten(0, (len(places), -1)).flatten(1, 2).to(matches.rays_0.dtype)
    best = essential_cost(matches, E).topk(ESSENTIALS, dim=1, largest=False).indices
    return chosen(E, best)


def essential_cost(matches: RayMatches, E: Tensor) -> Tensor:
    """Compute the cost (B, K) of essential matrices (B, K, 3, 3): ``robust_cost`` without depth test.

    The bilinear and quadratic forms of the rays are evaluated as inner products of flattened 3x3 matrices.
    """
    both, own_0, own_1 = (
        (first[..., :, None] * second[..., None, :]).flatten(2).transpose(1, 2)
        for first, second in (
            (matches.rays_1, matches.rays_0),
            (matches.rays_0, matches.rays_0),
            (matches.rays_1, matches.rays_1),
        )
    )
    products = E.flatten(2) @ both
    squares = (E.transpose(2, 3) @ E).flatten(2) @ own_0 + (E @ E.transpose(2, 3)).flatten(2) @ own_1
    error = products.square() / (0.5 * squares).clamp(min=1e-9)
    return (_bounded(error / matches.variances[:, None]) @ matches.weights[..., None])[..., 0]


def decompose_essential(E: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose essential matrices (B, K, 3, 3) into rotations (B, 4 K, 3, 3) and directions (B, 4 K, 3)."""
    U, _, Vh = torch.linalg.svd(E)
    U, Vh = (matrix * torch.linalg.det(matrix)[..., None, None] for matrix in (U, Vh))
    quarter_turn = U.new_tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    t = U[..., 2]
    first, second = U @ quarter_turn @ Vh, U @ quarter_turn.T @ Vh
    return torch.cat([first, second, first, second], dim=1), torch.cat([t, t, -t, -t], dim=1)


def procrustes_with_directions(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Combine the rotation-only least-squares solution with the 26 directions to the neighbours of a cube."""
    import roma  # takes a second, see rotations.py

    moment = (matches.variances.reciprocal()[..., None] * matches.rays_1).transpose(1, 2) @ matches.rays_0
    R: Tensor = roma.special_procrustes(moment)
    steps = torch.tensor([-1.0, 0.0, 1.0], device=R.device)
    grid = torch.cartesian_prod(steps, steps, steps)
    neighbours = torch.cat([grid[:13], grid[14:]])  # without the centre
    t = functional.normalize(neighbours, dim=1)
    return R[:, None].expand(-1, len(t), 3, 3), t.expand(len(R), -1, 3)


def sample_indices(weights: Tensor) -> Tensor:
    """Draw indices (B, SAMPLES, 5) of matches in proportion to weights (B, N), deterministically.

    A golden-ratio sequence covers the cumulative weight evenly; a second irrational step decorrelates the
    samples.
    """
    number = torch.arange(5 * SAMPLES, dtype=torch.float64, device=weights.device)
    sample = number.div(5, rounding_mode="floor")
    phase = (number * 0.6180339887498949 + sample.square() * 0.4142135623730951) % 1.0
    cumulative = weights.double().cumsum(dim=1)
    indices = torch.searchsorted(cumulative, phase * cumulative[:, -1:])
    return indices.clamp(max=weights.shape[1] - 1).unflatten(1, (SAMPLES, 5))


def robust_cost(matches: RayMatches, R: Tensor, t: Tensor) -> Tensor:
    """Compute the cost (B, K) of hypotheses R (B, K, 3, 3), t (B, K, 3).

    The cost of a match is its squared epipolar error relative to its variance, truncated at MAXIMUM_ERROR and
    normalised to 1. A match that triangulates behind a camera costs 1.
    """
    planes = EpipolarPlanes.of(matches.rays_0[:, None], matches.rays_1[:, None], R, t)
    error = planes.products.square() / planes.squared_sines
    cost = torch.where(planes.in_front, _bounded(error / matches.variances[:, None]), 1.0)
    return (matches.weights[:, None] * cost).sum(dim=2)


def _bounded(squares: Tensor) -> Tensor:
    """Truncate squared errors, relative to their variances, at MAXIMUM_ERROR and normalise them to [0, 1]."""
    return (squares / MAXIMUM_ERROR**2).clamp(max=1.0)


def refine(matches: RayMatches, R: Tensor, t: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return rotation and direction after one Gauss-Newton step per width of the robust kernel."""
    for width in widths:
        R, t, _ = newton_step(matches, R, t, width)
    return R, t


def newton_step(
    matches: RayMatches, R: Tensor, t: Tensor, width: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Do a damped Gauss-Newton step; return rotation, direction and information (B, 5, 5) before the step."""
    planes = EpipolarPlanes.of(matches.rays_0, matches.rays_1, R, t)
    error, jacobian = planes.errors()
    variances = matches.variances * width**2
    # Tukey's kernel: no weight beyond MAXIMUM_ERROR standard deviations.
    kernel = (1.0 - _bounded(error.detach().square() / variances)).square()
    precision = matches.weights * (kernel / variances)
    weighted = (precision * planes.in_front)[..., None] * jacobian
    information = weighted.transpose(1, 2) @ jacobian
    gradient = (weighted * error[..., None]).sum(dim=1)
    damped = information + torch.diag_embed(DAMPING * information.diagonal(dim1=1, dim2=2) + 1e-6)
    step = -torch.linalg.solve(damped, gradient[..., None])[..., 0]
    step = step / (length(step)[:, None] / MAXIMUM_STEP).clamp(min=1.0)
    moved = t + (tangent_basis(t) @ step[:, 3:, None])[..., 0]
    return R @ exponential(step[:, :3]), functional.normalize(moved, dim=1), information


def _refined(matches: RayMatches, R: Tensor, t: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Refine hypotheses (B, K, ...)."""
    count = R.shape[1]
    R, t = refine(matches.repeated(count), R.flatten(0, 1), t.flatten(0, 1), widths)
    return R.unflatten(0, (-1, count)), t.unflatten(0, (-1, count))


def _minimum_cost(matches: RayMatches, R: Tensor, t: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` hypotheses (B, count, ...) of minimum cost."""
    best = robust_cost(matches, R, t).topk(count, dim=1, largest=False).indices
    return chosen(R, best), chosen(t, best)

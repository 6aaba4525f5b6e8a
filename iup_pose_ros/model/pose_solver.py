"""A pose from the soft correspondence alone: where stage 1 may start instead of identity (beyond the paper).

Essential matrices of small samples of matches, and the rotation that fits best with every direction of a
coarse sphere, are hypotheses; the better ones are refined by robust Gauss-Newton steps on the epipolar error
and the cheapest wins. A few starts would not do: where a camera circles an object rotation and translation
cancel, and on planes two poses fit alike. All but a last step run without gradient; at a solution that step
has the gradient of the whole solve with respect to matches and their deviations.
Sources: Hartley and Zisserman, "Multiple View Geometry", sections 9.6 and 11.2; Triggs et al., "Bundle
adjustment", 2000; Torr and Zisserman, "MLESAC", 2000.
"""

from __future__ import annotations

from collections.abc import Sequence

import roma
import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.epipolar_planes import EpipolarPlanes, tangent_basis
from iup_pose_ros.model.five_point import five_point
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.ray_matches import RayMatches, chosen
from iup_pose_ros.model.realignment import PoseState
from iup_pose_ros.model.rotations import exponential, length, turned

SEARCHED = 256  # matches, spread over the images, on which hypotheses are made and compared
SAMPLES = 256  # subsets of five of them, drawn by their weights
ESSENTIALS = 32  # essential matrices of samples that are taken apart into poses
REFINED = 32  # hypotheses that are refined
FINALISTS = 8  # of these, those that are compared on all matches
SEARCH_WIDTHS = (2.0, 1.5, 1.0, 1.0)  # of the robust kernel, in the steps that refine a hypothesis
FINAL_WIDTHS = (1.5, 1.0, 1.0, 1.0)  # and in those of a finalist
DAMPING = 1e-3  # relative to the information
LARGEST_STEP = 0.3  # radians
LARGEST_ERROR = 3.0  # deviations beyond which a match is wrong
CONTRADICTION = 20.5  # chi-square of a pose's 5 degrees of freedom, nominally exceeded once in a thousand


def solve_pose(matches: RayMatches, prior: PoseState) -> PoseState:
    """The pose that the matches agree on best, with deviations no larger than the prior's."""
    with full_precision(matches.rays_0):
        with torch.no_grad():
            R, t = search(matches)
        R, t, information = newton_step(matches, R, t)
    direction = (R.transpose(1, 2) @ t[..., None])[..., 0]
    precision = torch.cat([prior.sigma_R, prior.sigma_t.expand(-1, 2)], dim=1).square().reciprocal()
    variance = torch.linalg.inv(information + torch.diag_embed(precision)).diagonal(dim1=1, dim2=2)
    sigma_t = variance[:, 3:].mean(dim=1, keepdim=True).sqrt()
    return PoseState(R, direction, variance[:, :3].sqrt(), sigma_t)


def unless_contradicted(matches: RayMatches, pose: PoseState, solved: PoseState) -> PoseState:
    """A pose, or the solved one where matches fit it worse than noise explains, or it is not finite."""
    with full_precision(matches.rays_0):
        R = torch.stack([pose.R_1_0, solved.R_1_0], dim=1)
        direction = torch.stack([pose.direction, solved.direction], dim=1)
        cost, least = robust_cost(matches, R, turned(R, direction)).unbind(dim=1)
    contradicted = LARGEST_ERROR**2 * (cost - least) > CONTRADICTION
    return PoseState(
        *(
            torch.where(contradicted.view(-1, *[1] * (kept.dim() - 1)), other, kept)
            for kept, other in zip(pose, solved, strict=True)
        )
    )


def search(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Rotation (B, 3, 3) and direction (B, 3) near the robust optimum."""
    spread = best_spread(matches, SEARCHED)
    R, t = _cheapest(spread, *hypotheses(spread), REFINED)
    R, t = _cheapest(spread, *_refined(spread, R, t, SEARCH_WIDTHS), FINALISTS)
    R, t = _cheapest(matches, *_refined(matches, R, t, FINAL_WIDTHS), 1)
    return R[:, 0], t[:, 0]


def best_spread(matches: RayMatches, count: int) -> RayMatches:
    """About ``count`` matches: the surest of every few that follow each other, neighbours in the image."""
    total = matches.variances.shape[1]
    size = max(1, total // count)
    place = matches.weights[:, : total - total % size].unflatten(1, (-1, size)).argmax(dim=2)
    return matches.chosen(place + size * torch.arange(place.shape[1], device=place.device))


def hypotheses(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Rotations (B, K, 3, 3) and directions (B, K, 3) to begin with."""
    R_sampled, t_sampled = taken_apart(sampled_essentials(matches))
    R_turned, t_turned = procrustes_with_directions(matches)
    return torch.cat([R_sampled, R_turned], dim=1), torch.cat([t_sampled, t_turned], dim=1)


def sampled_essentials(matches: RayMatches) -> Tensor:
    """The ESSENTIALS cheapest essential matrices (B, ESSENTIALS, 3, 3) of samples of five matches."""
    places = sample_places(matches.weights).flatten(1)
    samples = (chosen(rays, places).unflatten(1, (-1, 5)).flatten(0, 1) for rays in matches[:2])
    E = five_point(*samples).unflatten(0, (len(places), -1)).flatten(1, 2).to(matches.rays_0.dtype)
    best = essential_cost(matches, E).topk(ESSENTIALS, dim=1, largest=False).indices
    return chosen(E, best)


def essential_cost(matches: RayMatches, E: Tensor) -> Tensor:
    """Cost (B, K) of essential matrices (B, K, 3, 3): that of ``robust_cost`` without regard to depth.

    Products of rays with matrices, and squared lengths of what matrices make of rays, are all taken as inner
    products of nine numbers each.
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


def taken_apart(E: Tensor) -> tuple[Tensor, Tensor]:
    """The four poses of each essential matrix: (B, K, 3, 3) -> rotations (B, 4 K, 3, 3), directions."""
    U, _, Vh = torch.linalg.svd(E)
    U, Vh = (matrix * torch.linalg.det(matrix)[..., None, None] for matrix in (U, Vh))
    quarter_turn = U.new_tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    t = U[..., 2]
    first, second = U @ quarter_turn @ Vh, U @ quarter_turn.T @ Vh
    return torch.cat([first, second, first, second], dim=1), torch.cat([t, t, -t, -t], dim=1)


def procrustes_with_directions(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """The rotation that brings rays closest together, with the 26 directions to a cube's neighbours."""
    moment = (matches.variances.reciprocal()[..., None] * matches.rays_1).transpose(1, 2) @ matches.rays_0
    R: Tensor = roma.special_procrustes(moment)
    steps = torch.tensor([-1.0, 0.0, 1.0], device=R.device)
    grid = torch.cartesian_prod(steps, steps, steps)
    away = torch.cat([grid[:13], grid[14:]])  # all but the middle
    t = functional.normalize(away, dim=1)
    return R[:, None].expand(-1, len(t), 3, 3), t.expand(len(R), -1, 3)


def sample_places(weights: Tensor) -> Tensor:
    """Indices (B, SAMPLES, 5) of matches, drawn in proportion to weights (B, N), the same every time.

    Steps of the golden ratio visit the sum of all weights evenly; a second irrational step sets the samples
    apart.
    """
    number = torch.arange(5 * SAMPLES, dtype=torch.float64, device=weights.device)
    sample = number.div(5, rounding_mode="floor")
    phase = (number * 0.6180339887498949 + sample.square() * 0.4142135623730951) % 1.0
    reached = weights.double().cumsum(dim=1)
    places = torch.searchsorted(reached, phase * reached[:, -1:])
    return places.clamp(max=weights.shape[1] - 1).unflatten(1, (SAMPLES, 5))


def robust_cost(matches: RayMatches, R: Tensor, t: Tensor) -> Tensor:
    """Cost (B, K) of hypotheses R (B, K, 3, 3), t (B, K, 3).

    A match costs its squared epipolar error in deviations, bounded; one that would meet behind a camera costs
    the most.
    """
    planes = EpipolarPlanes.of(matches.rays_0[:, None], matches.rays_1[:, None], R, t)
    error = planes.products.square() / planes.squared_sines
    cost = torch.where(planes.in_front, _bounded(error / matches.variances[:, None]), 1.0)
    return (matches.weights[:, None] * cost).sum(dim=2)


def _bounded(squares: Tensor) -> Tensor:
    """Squared errors in deviations as shares of the largest that counts."""
    return (squares / LARGEST_ERROR**2).clamp(max=1.0)


def refine(matches: RayMatches, R: Tensor, t: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Rotation and direction after a step with each width of the robust kernel."""
    for width in widths:
        R, t, _ = newton_step(matches, R, t, width)
    return R, t


def newton_step(
    matches: RayMatches, R: Tensor, t: Tensor, width: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """One damped Gauss-Newton step on the epipolar error: rotation, direction and information (B, 5, 5)."""
    planes = EpipolarPlanes.of(matches.rays_0, matches.rays_1, R, t)
    error, jacobian = planes.errors()
    precision = matches.weights * _robust_precision(error.detach(), matches.variances * width**2)
    weighted = (precision * planes.in_front)[..., None] * jacobian
    information = weighted.transpose(1, 2) @ jacobian
    gradient = (weighted * error[..., None]).sum(dim=1)
    damped = information + torch.diag_embed(DAMPING * information.diagonal(dim1=1, dim2=2) + 1e-6)
    step = -torch.linalg.solve(damped, gradient[..., None])[..., 0]
    step = step / (length(step)[:, None] / LARGEST_STEP).clamp(min=1.0)
    moved = t + (tangent_basis(t) @ step[:, 3:, None])[..., 0]
    return R @ exponential(step[:, :3]), functional.normalize(moved, dim=1), information


def _robust_precision(error: Tensor, variances: Tensor) -> Tensor:
    """Precision (B, N) of each match by Tukey's kernel: none beyond LARGEST_ERROR deviations."""
    return (1.0 - _bounded(error.square() / variances)).square() / variances


def _refined(matches: RayMatches, R: Tensor, t: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Hypotheses (B, K, ...) after refinement."""
    count = R.shape[1]
    R, t = refine(matches.repeated(count), R.flatten(0, 1), t.flatten(0, 1), widths)
    return R.unflatten(0, (-1, count)), t.unflatten(0, (-1, count))


def _cheapest(matches: RayMatches, R: Tensor, t: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` hypotheses (B, count, ...) of least cost."""
    best = robust_cost(matches, R, t).topk(count, dim=1, largest=False).indices
    return chosen(R, best), chosen(t, best)

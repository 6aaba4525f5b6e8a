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
from typing import NamedTuple

import roma
import torch
from torch import Tensor
from torch.nn import functional

from iup_pose_ros.model.correspondence import SoftCorrespondence
from iup_pose_ros.model.epipolar_planes import EpipolarPlanes, tangent_basis
from iup_pose_ros.model.five_point import five_point
from iup_pose_ros.model.precision import full_precision
from iup_pose_ros.model.realignment import PoseState
from iup_pose_ros.model.rotations import exponential, length, turned

SEARCHED = 256  # matches, spread over the images, on which hypotheses are made and compared
SAMPLES = 64  # subsets of five of the surer half of them
ESSENTIALS = 32  # essential matrices of samples that are taken apart into poses
REFINED = 32  # hypotheses that are refined
FINALISTS = 8  # of these, those that are compared on all matches
SEARCH_WIDTHS = (2.0, 1.5, 1.0, 1.0)  # of the robust kernel, in the steps that refine a hypothesis
FINAL_WIDTHS = (1.5, 1.0, 1.0, 1.0)  # and in those of a finalist
DAMPING = 1e-3  # relative to the information
LARGEST_STEP = 0.3  # radians
NOISE = 0.001  # radians, of a match that is right and says that it is sure
NOISE_GROWTH = 0.1  # by the predicted deviation, which holds the chance that a match is wrong altogether
CERTAIN_SIGMA = 0.01  # radians, predicted deviation at which a match counts half
LARGEST_ERROR = 3.0  # deviations beyond which a match is wrong
CELLS_PER_OBSERVATION = 16.0  # neighbouring cells err alike; so many count as one independent match
CONTRADICTION = 20.5  # chi-square of a pose's 5 degrees of freedom, nominally exceeded once in a thousand


class RayMatches(NamedTuple):
    """Matches of viewing rays.

    Attributes:
        rays_0, rays_1: (B, N, 3), unit.
        variances: (B, N), radians^2, of a match that is right.
        weights: (B, N) in (0, 1], how far it can be told that it is.
    """

    rays_0: Tensor
    rays_1: Tensor
    variances: Tensor
    weights: Tensor

    @classmethod
    def of(cls, rays_0: Tensor, rays_1: Tensor, sigma: Tensor) -> RayMatches:
        """Matches with the deviations (B, N) that are predicted for them, radians."""
        variances = (NOISE_GROWTH * sigma).square() + NOISE**2
        return cls(rays_0, rays_1, variances, 1.0 / (1.0 + (sigma / CERTAIN_SIGMA).square()))

    def chosen(self, index: Tensor) -> RayMatches:
        """Those of index (B, n)."""
        return RayMatches(*(_chosen(value, index) for value in self))

    def repeated(self, times: int) -> RayMatches:
        """Every item of the batch so many times in a row."""
        return RayMatches(*(value.repeat_interleave(times, dim=0) for value in self))


def solve_pose(correspondence: SoftCorrespondence, prior: PoseState) -> PoseState:
    """The pose that the matches of both views agree on best, with deviations no larger than the prior's."""
    with full_precision(correspondence.logits):
        matches = gather_matches(correspondence)
        with torch.no_grad():
            R, t = search(matches)
        R, t, information = newton_step(matches, R, t)
    direction = (R.transpose(1, 2) @ t[..., None])[..., 0]
    precision = torch.cat([prior.sigma_R, prior.sigma_t.expand(-1, 2)], dim=1).square().reciprocal()
    variance = torch.linalg.inv(information + torch.diag_embed(precision)).diagonal(dim1=1, dim2=2)
    sigma_t = variance[:, 3:].mean(dim=1, keepdim=True).sqrt()
    return PoseState(R, direction, variance[:, :3].sqrt(), sigma_t)


def unless_contradicted(correspondence: SoftCorrespondence, pose: PoseState, solved: PoseState) -> PoseState:
    """A pose, or the solved one where matches fit it worse than noise explains, or it is not finite."""
    with full_precision(correspondence.logits):
        R = torch.stack([pose.R_1_0, solved.R_1_0], dim=1)
        direction = torch.stack([pose.direction, solved.direction], dim=1)
        cost, least = robust_cost(gather_matches(correspondence), R, turned(R, direction)).unbind(dim=1)
    contradicted = LARGEST_ERROR**2 / CELLS_PER_OBSERVATION * (cost - least) > CONTRADICTION
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
    """About ``count`` matches: the surest of every few neighbouring cells."""
    total = matches.variances.shape[1]
    size = max(1, total // count)
    place = matches.variances[:, : total - total % size].unflatten(1, (-1, size)).argmin(dim=2)
    return matches.chosen(place + size * torch.arange(place.shape[1], device=place.device))


def hypotheses(matches: RayMatches) -> tuple[Tensor, Tensor]:
    """Rotations (B, K, 3, 3) and directions (B, K, 3) to begin with."""
    R_sampled, t_sampled = taken_apart(sampled_essentials(matches))
    R_turned, t_turned = procrustes_with_directions(matches)
    return torch.cat([R_sampled, R_turned], dim=1), torch.cat([t_sampled, t_turned], dim=1)


def sampled_essentials(matches: RayMatches) -> Tensor:
    """The ESSENTIALS cheapest essential matrices (B, ESSENTIALS, 3, 3) of samples of five sure matches."""
    count = matches.variances.shape[1]
    surer = matches.variances.argsort(dim=1)[:, : (count + 1) // 2].sort(dim=1).values
    sure = matches.chosen(surer)
    places = sample_places(surer.shape[1]).to(surer.device)
    samples = (rays[:, places].flatten(0, 1) for rays in (sure.rays_0, sure.rays_1))
    E = five_point(*samples).unflatten(0, (len(surer), -1)).flatten(1, 2).to(matches.rays_0.dtype)
    best = essential_cost(matches, E).topk(ESSENTIALS, dim=1, largest=False).indices
    return _chosen(E, best)


def essential_cost(matches: RayMatches, E: Tensor) -> Tensor:
    """Cost (B, K) of essential matrices (B, K, 3, 3): that of ``robust_cost`` without regard to depth."""
    planes_1 = torch.einsum("bkij,bnj->bkni", E, matches.rays_0)
    planes_0 = torch.einsum("bkij,bni->bknj", E, matches.rays_1)
    squares = planes_0.square().sum(dim=3) + planes_1.square().sum(dim=3)
    error = (planes_1 * matches.rays_1[:, None]).sum(dim=3).square() / (0.5 * squares).clamp(min=1e-9)
    return (matches.weights[:, None] * _bounded(error / matches.variances[:, None])).sum(dim=2)


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


def sample_places(count: int) -> Tensor:
    """Indices (SAMPLES, 5) below ``count``, scattered, and the same every time.

    Steps of the golden ratio visit all places evenly; a second irrational step sets the samples apart.
    """
    number = torch.arange(5 * SAMPLES, dtype=torch.float64)
    sample = torch.arange(SAMPLES, dtype=torch.float64).repeat_interleave(5)
    phase = (number * 0.6180339887498949 + sample.square() * 0.4142135623730951) % 1.0
    return (phase * count).long().view(SAMPLES, 5)


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


def gather_matches(correspondence: SoftCorrespondence) -> RayMatches:
    """The matches of both views' cells together, N = N_0 + N_1."""
    view_0, view_1 = correspondence.view_0, correspondence.view_1
    return RayMatches.of(
        torch.cat([_listed(view_0.own), _listed(view_1.matched)], dim=1),
        torch.cat([_listed(view_0.matched), _listed(view_1.own)], dim=1),
        torch.cat([view_0.spread.flatten(1), view_1.spread.flatten(1)], dim=1),
    )


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


def _listed(rays: Tensor) -> Tensor:
    return rays.flatten(2).transpose(1, 2)


def _robust_precision(error: Tensor, variances: Tensor) -> Tensor:
    """Precision (B, N) of each match by Tukey's kernel: none beyond LARGEST_ERROR deviations."""
    return (1.0 - _bounded(error.square() / variances)).square() / variances / CELLS_PER_OBSERVATION


def _refined(matches: RayMatches, R: Tensor, t: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Hypotheses (B, K, ...) after refinement."""
    count = R.shape[1]
    R, t = refine(matches.repeated(count), R.flatten(0, 1), t.flatten(0, 1), widths)
    return R.unflatten(0, (-1, count)), t.unflatten(0, (-1, count))


def _cheapest(matches: RayMatches, R: Tensor, t: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` hypotheses (B, count, ...) of least cost."""
    best = robust_cost(matches, R, t).topk(count, dim=1, largest=False).indices
    return _chosen(R, best), _chosen(t, best)


def _chosen(values: Tensor, index: Tensor) -> Tensor:
    """Entries (B, k, ...) of values (B, K, ...) by index (B, k)."""
    trailing = values.shape[2:]
    return values.gather(1, index.view(*index.shape, *[1] * len(trailing)).expand(*index.shape, *trailing))

"""Lists of matched viewing rays, the input of the pose solver."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from iup_pose_ros.model.correspondence import SoftCorrespondence

NOISE = 0.001  # radians, standard deviation of a correct match of high confidence
NOISE_GROWTH = 0.1  # factor of the predicted sigma, which also covers the probability of an outlier
CERTAIN_SIGMA = 0.01  # radians, predicted sigma at which the weight of a match is one half
CELLS_PER_OBSERVATION = 16.0  # errors of neighbouring cells are correlated: cells per independent match


class RayMatches(NamedTuple):
    """Matches of viewing rays.

    Attributes:
        rays_0, rays_1: (B, N, 3), unit.
        variances: (B, N), variance of a correct match, radians^2.
        weights: (B, N) in (0, 1], number of independent observations per match: below one for possible
            outliers and for matches whose errors are correlated with those of their neighbours.
    """

    rays_0: Tensor
    rays_1: Tensor
    variances: Tensor
    weights: Tensor

    def chosen(self, index: Tensor) -> RayMatches:
        """Return the matches of index (B, n)."""
        return RayMatches(*(chosen(value, index) for value in self))

    def repeated(self, times: int) -> RayMatches:
        """Repeat every item of the batch, copies next to each other."""
        return RayMatches(*(value.repeat_interleave(times, dim=0) for value in self))


def chosen(values: Tensor, index: Tensor) -> Tensor:
    """Return entries (B, k, ...) of values (B, K, ...) by index (B, k)."""
    trailing = values.shape[2:]
    return values.gather(1, index.view(*index.shape, *[1] * len(trailing)).expand(*index.shape, *trailing))


def matches_of_cells(correspondence: SoftCorrespondence) -> RayMatches:
    """List the matches of the cells of both views, N = N_0 + N_1, with weights from the predicted sigmas."""
    view_0, view_1 = correspondence.view_0, correspondence.view_1
    sigma = torch.cat([view_0.spread.flatten(1), view_1.spread.flatten(1)], dim=1)
    return RayMatches(
        torch.cat([_listed(view_0.own), _listed(view_1.matched)], dim=1),
        torch.cat([_listed(view_0.matched), _listed(view_1.own)], dim=1),
        (NOISE_GROWTH * sigma).square() + NOISE**2,
        1.0 / (1.0 + (sigma / CERTAIN_SIGMA).square()) / CELLS_PER_OBSERVATION,
    )


def _listed(rays: Tensor) -> Tensor:
    return rays.flatten(2).transpose(1, 2)

"""Matches as pairs of viewing rays, listed: what the pose solver works on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from iup_pose_ros.model.correspondence import SoftCorrespondence

NOISE = 0.001  # radians, of a match that is right and says that it is sure
NOISE_GROWTH = 0.1  # by the predicted deviation, which holds the chance that a match is wrong altogether
CERTAIN_SIGMA = 0.01  # radians, predicted deviation at which a match counts half
CELLS_PER_OBSERVATION = 16.0  # neighbouring cells err alike; so many count as one independent match


class RayMatches(NamedTuple):
    """Matches of viewing rays.

    Attributes:
        rays_0, rays_1: (B, N, 3), unit.
        variances: (B, N), radians^2, of a match that is right.
        weights: (B, N) in (0, 1], how many independent observations a match counts for: less than one if it
            may be wrong, or if its neighbours err alike.
    """

    rays_0: Tensor
    rays_1: Tensor
    variances: Tensor
    weights: Tensor

    def chosen(self, index: Tensor) -> RayMatches:
        """Those of index (B, n)."""
        return RayMatches(*(chosen(value, index) for value in self))

    def repeated(self, times: int) -> RayMatches:
        """Every item of the batch so many times in a row."""
        return RayMatches(*(value.repeat_interleave(times, dim=0) for value in self))


def chosen(values: Tensor, index: Tensor) -> Tensor:
    """Entries (B, k, ...) of values (B, K, ...) by index (B, k)."""
    trailing = values.shape[2:]
    return values.gather(1, index.view(*index.shape, *[1] * len(trailing)).expand(*index.shape, *trailing))


def matches_of_cells(correspondence: SoftCorrespondence) -> RayMatches:
    """The matches of both views' cells together, N = N_0 + N_1, by the deviations predicted for them."""
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

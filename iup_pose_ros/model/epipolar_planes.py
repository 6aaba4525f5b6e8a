"""Epipolar geometry of matched viewing rays under a pose X_1 = R X_0 + s t, scale s unknown.

Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, section 9.6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PARALLAX_FLOOR = 0.01  # radians; noise lets matches with less seem to meet behind a camera
EPIPOLE_FLOOR = 0.05  # sine of the angle to the epipole below which a match says little about its plane


class EpipolarPlanes(NamedTuple):
    """Matches of N viewing rays, and the planes through each of them and the baseline.

    Attributes:
        R, t: the pose, (..., 3, 3) and (..., 3), t unit.
        rays_0, rays_1: (..., N, 3) of view 0 and 1, unit, both in camera 1's axes.
        normals_0, normals_1: (..., N, 3) t x ray, as long as the sine of the ray's angle to the baseline.
    """

    R: Tensor
    t: Tensor
    rays_0: Tensor
    rays_1: Tensor
    normals_0: Tensor
    normals_1: Tensor

    @classmethod
    def of(cls, rays_0: Tensor, rays_1: Tensor, R: Tensor, t: Tensor) -> EpipolarPlanes:
        """Planes of unit rays (..., N, 3), each in its own camera's axes, under a pose."""
        turned = rays_0 @ R.transpose(-2, -1)
        direction = t[..., None, :]
        normals_0, normals_1 = torch.linalg.cross(direction, turned), torch.linalg.cross(direction, rays_1)
        return cls(R, t, turned, rays_1, normals_0, normals_1)

    @property
    def squared_sines(self) -> Tensor:
        """(..., N), of the rays' angles to the baseline: their mean, and a floor."""
        squares = self.normals_0.square().sum(dim=-1) + self.normals_1.square().sum(dim=-1)
        return 0.5 * squares + EPIPOLE_FLOOR**2

    @property
    def products(self) -> Tensor:
        """(..., N) triple products x_1 . (t x R x_0), zero for an exact match."""
        return (self.normals_0 * self.rays_1).sum(dim=-1)

    @property
    def in_front(self) -> Tensor:
        """(..., N) whether the rays meet in front of both cameras, or nearly so."""
        normals = torch.linalg.cross(self.rays_1, self.rays_0)
        depth_0, depth_1 = (self.normals_1 * normals).sum(dim=-1), (self.normals_0 * normals).sum(dim=-1)
        return torch.minimum(depth_0, depth_1) >= -PARALLAX_FLOOR

    def errors(self) -> tuple[Tensor, Tensor]:
        """Errors (..., N), about the angle of rays to their planes, and their derivatives (..., N, 5).

        The derivatives are by delta in R Exp(delta) and by two coordinates of t along ``tangent_basis``; they
        leave out that of the scale, which hardly matters near a solution.
        """
        by_rotation = torch.linalg.cross(self.rays_0, -self.normals_1) @ self.R
        by_direction = torch.linalg.cross(self.rays_0, self.rays_1) @ tangent_basis(self.t)
        scale = self.squared_sines.rsqrt()
        jacobian = torch.cat([by_rotation, by_direction], dim=-1) * scale[..., None]
        return self.products * scale, jacobian


def tangent_basis(t: Tensor) -> Tensor:
    """Two unit vectors (..., 3, 2) orthogonal to unit t (..., 3) and each other."""
    axis = functional.one_hot(t.abs().argmin(dim=-1), 3).to(t.dtype)
    first = functional.normalize(torch.linalg.cross(t, axis), dim=-1)
    return torch.stack([first, torch.linalg.cross(t, first)], dim=-1)

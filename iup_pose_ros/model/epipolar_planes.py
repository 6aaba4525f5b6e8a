"""Epipolar geometry of matched viewing rays under a pose X_1 = R X_0 + s t, scale s unknown.

Source: Hartley and Zisserman, "Multiple View Geometry", 2nd edition, section 9.6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PARALLAX_FLOOR = 0.01  # radians; with less parallax the sign of the depth is not significant
EPIPOLE_FLOOR = 0.05  # sine of the angle to the epipole below which the epipolar plane is ill-defined


class EpipolarPlanes(NamedTuple):
    """N matched viewing rays and their epipolar planes (through the ray and the baseline).

    Attributes:
        R, t: pose, (..., 3, 3) and unit (..., 3).
        rays_0, rays_1: (..., N, 3), unit rays of view 0 and 1, both in the frame of camera 1.
        normals_0, normals_1: (..., N, 3) t x ray; the length is the sine of the ray's angle to the baseline.
    """

    R: Tensor
    t: Tensor
    rays_0: Tensor
    rays_1: Tensor
    normals_0: Tensor
    normals_1: Tensor

    @classmethod
    def of(cls, rays_0: Tensor, rays_1: Tensor, R: Tensor, t: Tensor) -> EpipolarPlanes:
        """Create the planes of unit rays (..., N, 3), each in the frame of its own camera, under a pose."""
        rotated_0 = rays_0 @ R.transpose(-2, -1)
        direction = t[..., None, :]
        normals_0, normals_1 = torch.linalg.cross(direction, rotated_0), torch.linalg.cross(direction, rays_1)
        return cls(R, t, rotated_0, rays_1, normals_0, normals_1)

    @property
    def squared_sines(self) -> Tensor:
        """(..., N), mean squared sine of both rays' angles to the baseline, plus a floor."""
        squares = self.normals_0.square().sum(dim=-1) + self.normals_1.square().sum(dim=-1)
        return 0.5 * squares + EPIPOLE_FLOOR**2

    @property
    def products(self) -> Tensor:
        """(..., N) triple products x_1 . (t x R x_0), zero for an exact match."""
        return (self.normals_0 * self.rays_1).sum(dim=-1)

    @property
    def in_front(self) -> Tensor:
        """(..., N), whether the triangulated point is in front of both cameras, within ``PARALLAX_FLOOR``."""
        normals = torch.linalg.cross(self.rays_1, self.rays_0)
        depth_0, depth_1 = (self.normals_1 * normals).sum(dim=-1), (self.normals_0 * normals).sum(dim=-1)
        return torch.minimum(depth_0, depth_1) >= -PARALLAX_FLOOR

    def errors(self) -> tuple[Tensor, Tensor]:
        """Return errors (..., N), about the angles of rays to their planes, and Jacobians (..., N, 5).

        The Jacobian is with respect to delta in R Exp(delta) and two coordinates of t in ``tangent_basis``.
        It neglects the derivative of the normalisation, which is small near a solution.
        """
        by_rotation = torch.linalg.cross(self.rays_0, -self.normals_1) @ self.R
        by_direction = torch.linalg.cross(self.rays_0, self.rays_1) @ tangent_basis(self.t)
        scale = self.squared_sines.rsqrt()
        jacobian = torch.cat([by_rotation, by_direction], dim=-1) * scale[..., None]
        return self.products * scale, jacobian


def tangent_basis(t: Tensor) -> Tensor:
    """Return two orthonormal vectors (..., 3, 2) that are orthogonal to unit t (..., 3)."""
    axis = (torch.arange(3, device=t.device) == t.abs().argmin(dim=-1, keepdim=True)).to(t.dtype)
    first = functional.normalize(torch.linalg.cross(t, axis), dim=-1)
    return torch.stack([first, torch.linalg.cross(t, first)], dim=-1)

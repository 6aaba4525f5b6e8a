"""Batched five-point algorithm: essential matrices of five matches of calibrated views.

The null space of the five epipolar equations has four basis matrices, E = x X + y Y + z Z + W. The conditions
that E has rank 2 and two equal singular values are ten cubic equations in x, y, z. With these, multiplication
by x is a linear map of the ten monomials below degree 3, whose eigenvectors are the solutions.
Source: Stewenius, Engels and Nister, "Recent developments on direct relative orientation", 2006.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

Monomial = tuple[int, int, int]
"""Exponents of x, y and z."""


def monomials(degree: int) -> list[Monomial]:
    """Return all monomials up to a degree, higher degrees first."""
    found = [(a, b, c) for a, b, c in itertools.product(range(degree + 1), repeat=3) if a + b + c <= degree]
    return sorted(found, key=lambda m: (-sum(m), *(-exponent for exponent in m)))


def product_table(degree_first: int, degree_second: int) -> Tensor:
    """Return a table (A, B, C) that is 1 where monomial a times monomial b is monomial c, else 0."""
    first, second = monomials(degree_first), monomials(degree_second)
    product = {monomial: index for index, monomial in enumerate(monomials(degree_first + degree_second))}
    table = torch.zeros(len(first), len(second), len(product), dtype=torch.float64)
    for (i, (a, b, c)), (j, (d, e, f)) in itertools.product(enumerate(first), enumerate(second)):
        table[i, j, product[a + d, b + e, c + f]] = 1.0
    return table


LINEAR_TIMES_LINEAR, QUADRATIC_TIMES_LINEAR = product_table(1, 1), product_table(2, 1)
CUBICS = 10  # number of monomials of degree 3, which come first


def five_point(rays_0: Tensor, rays_1: Tensor) -> Tensor:
    """Compute the essential matrices, x_1^T E x_0 = 0, of samples of five matches.

    Args:
        rays_0, rays_1: (S, 5, 3), unit rays.

    Returns:
        (S, 10, 3, 3) of unit norm; for a complex solution its real part, which is not a solution.
    """
    equations = (rays_1[..., :, None] * rays_0[..., None, :]).flatten(2).double()
    basis = torch.linalg.svd(equations, full_matrices=True).Vh[:, 5:]
    E = basis.transpose(1, 2).unflatten(1, (3, 3))  # (S, 3, 3, 4): entries are linear in x, y, z
    action = _action_of_x(_constraints(E))
    monomial = torch.linalg.eig(action).eigenvectors.transpose(1, 2)
    scale = torch.cat([monomial[..., 6:9] / monomial[..., 9:], torch.ones_like(monomial[..., 9:])], dim=2)
    found = torch.einsum("snf,sijf->snij", scale.real, E).nan_to_num()
    return found / found.flatten(2).norm(dim=2).clamp(min=1e-12)[..., None, None]


def _constraints(E: Tensor) -> Tensor:
    """Return coefficients (S, 10, 20), by monomial, of 2 E E^T E - trace(E E^T) E = 0 and det E = 0."""
    linear = LINEAR_TIMES_LINEAR.to(E.device)
    cubic = QUADRATIC_TIMES_LINEAR.to(E.device)
    squared = torch.einsum("siaf,sjag,fgh->sijh", E, E, linear)
    trace = squared.diagonal(dim1=1, dim2=2).sum(dim=2)
    half_trace = 0.5 * torch.eye(3, dtype=E.dtype, device=E.device)[..., None] * trace[:, None, None]
    singular_values = torch.einsum("siah,sajf,hfk->sijk", squared - half_trace, E, cubic).flatten(1, 2)
    second, third = E[:, 1], E[:, 2]
    products = torch.einsum("saf,sbg,fgh->sabh", second, third, linear)
    minors = [products[:, a, b] - products[:, b, a] for a, b in ((1, 2), (2, 0), (0, 1))]
    determinant = torch.einsum("sah,saf,hfk->sk", torch.stack(minors, dim=1), E[:, 0], cubic)
    return torch.cat([singular_values, determinant[:, None]], dim=1)


def _action_of_x(constraints: Tensor) -> Tensor:
    """Return the action matrices (S, 10, 10) of multiplication by x on the monomials below degree 3."""
    identity = torch.eye(CUBICS, dtype=constraints.dtype, device=constraints.device)
    # Cubic monomials in terms of the lower ones; a small multiple of the identity avoids singularity.
    lower = -torch.linalg.solve(constraints[..., :CUBICS] + 1e-12 * identity, constraints[..., CUBICS:])
    index = {monomial: place for place, monomial in enumerate(monomials(3))}
    rows = []
    for a, b, c in monomials(2):
        place = index[a + 1, b, c]
        is_cubic = place < CUBICS
        rows.append(lower[:, place] if is_cubic else identity[place - CUBICS].expand(len(lower), CUBICS))
    return torch.stack(rows, dim=1)

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import normalize

from iup_pose_ros.model.five_point import five_point, monomials, product_table

SAMPLES = 50


def two_views(flat: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rays (S, 5, 3) of points in two cameras and the true essential matrices (S, 3, 3), unit norm."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(SAMPLES, 5, 3)) + np.array([0.0, 0.0, 5.0])
    if flat:
        points[..., 2] = 5.0 + 0.3 * points[..., 0]
    R = Rotation.random(SAMPLES, random_state=5).as_matrix()
    t = rng.normal(size=(SAMPLES, 3))
    moved = np.einsum("sij,snj->sni", R, points) + t[:, None]
    E = np.cross(t[:, None], R, axisb=1, axisc=1)
    E /= np.linalg.norm(E, axis=(1, 2), keepdims=True)
    rays_0, rays_1 = (normalize(torch.from_numpy(side), dim=2) for side in (points, moved))
    return rays_0, rays_1, torch.from_numpy(E)


@pytest.mark.parametrize("flat", [False, True])
def test_the_true_essential_matrix_is_among_the_solutions(flat: bool) -> None:
    rays_0, rays_1, truth = two_views(flat)
    found = five_point(rays_0, rays_1)
    distance = torch.minimum(
        (found - truth[:, None]).flatten(2).norm(dim=2), (found + truth[:, None]).flatten(2).norm(dim=2)
    )
    assert distance.amin(dim=1).median() < 1e-4
    assert (distance.amin(dim=1) < 0.02).double().mean() > 0.9


def test_real_solutions_fulfil_the_constraints() -> None:
    rays_0, rays_1, _ = two_views()
    found = five_point(rays_0, rays_1)
    epipolar = torch.einsum("sni,skij,snj->skn", rays_1, found, rays_0).abs().amax(dim=2)
    assert epipolar.max() < 1e-8, "every combination of the basis meets the five equations"
    values = torch.linalg.svdvals(found)
    essential = (values[..., 0] - values[..., 1] < 1e-4) & (values[..., 2] < 1e-4)
    assert essential.sum(dim=1).double().mean() > 2.0
    assert essential.any(dim=1).double().mean() > 0.9


def test_degenerate_samples_give_finite_matrices() -> None:
    same = normalize(torch.tensor([0.1, 0.2, 1.0]), dim=0).expand(3, 5, 3)
    assert five_point(same, same).isfinite().all()


def test_product_table_multiplies_polynomials() -> None:
    rng = np.random.default_rng(0)
    first, second, at = rng.normal(size=10), rng.normal(size=4), rng.normal(size=3)

    def value(coefficients: np.ndarray, degree: int) -> float:
        powers = [np.prod(at ** np.array(monomial)) for monomial in monomials(degree)]
        return float(coefficients @ powers)

    product = np.einsum("a,b,abc->c", first, second, product_table(2, 1).numpy())
    assert value(product, 3) == pytest.approx(value(first, 2) * value(second, 1))

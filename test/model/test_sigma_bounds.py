from __future__ import annotations

import pytest
import torch

from iup_pose_ros.model.sigma_bounds import bounded_sigma


def test_sigmas_are_bounded_and_unchanged_in_between() -> None:
    log_sigma = torch.tensor([1e-9, 0.01, 0.3, 1e9]).log().requires_grad_()
    bounded = bounded_sigma(log_sigma, 3e-4, 3.0)
    assert bounded[0].item() == pytest.approx(3e-4, rel=1e-3)
    assert bounded[-1].item() == pytest.approx(3.0, rel=1e-3)
    assert torch.allclose(bounded[1:3], log_sigma[1:3].exp(), rtol=1e-3)


def test_a_gradient_leads_back_from_a_little_beyond_the_bounds() -> None:
    log_sigma = torch.tensor([1e-4, 9.0]).log().requires_grad_()
    bounded_sigma(log_sigma, 3e-4, 3.0).log().sum().backward()
    assert log_sigma.grad is not None
    assert (log_sigma.grad > 1e-3).all()

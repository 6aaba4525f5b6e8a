"""Bounds of predicted standard deviations."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def bounded_sigma(log_sigma: Tensor, minimum: float, maximum: float) -> Tensor:
    """Return exp(log_sigma) with smooth bounds, so that the gradient does not vanish beyond them."""
    low, high = math.log(minimum), math.log(maximum)
    raised = low + functional.softplus(log_sigma - low, beta=4.0)
    return (high - functional.softplus(high - raised, beta=4.0)).exp()

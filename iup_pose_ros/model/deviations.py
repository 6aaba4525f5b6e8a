"""Standard deviations as networks predict them: logarithms, kept within bounds."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def bounded_sigma(log_sigma: Tensor, smallest: float, largest: float) -> Tensor:
    """Exp, bent smoothly to stay between both bounds: a gradient leads back from everywhere."""
    low, high = math.log(smallest), math.log(largest)
    raised = low + functional.softplus(log_sigma - low, beta=4.0)
    return (high - functional.softplus(high - raised, beta=4.0)).exp()

"""Where mixed-precision training must not round: rays and angles need more than bfloat16's three digits."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Context in which matrix products on the device of ``like`` keep the precision of their operands."""
    return torch.autocast(like.device.type, enabled=False)

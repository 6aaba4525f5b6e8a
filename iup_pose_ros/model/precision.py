"""Exceptions from mixed precision: rays and angles need more than the three digits of bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context that disables autocast on the device of ``like``."""
    return torch.autocast(like.device.type, enabled=False)

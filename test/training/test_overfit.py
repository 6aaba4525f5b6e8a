from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.rotations import length, logarithm
from iup_pose_ros.training.overfit import OverfitOptions, PairSet, fixed_pairs, overfit, swap_errors

OPTIONS = OverfitOptions(pairs=3, batch=3, steps=100, width=96, height=64)
# From identity, so that it is the decoders that learn.
TINY = replace(
    PRESETS["small_grid"], initial_pose="identity", width=64, alignment_layers=2, bottleneck=32, head_width=64
)


def test_after_a_short_training_swapping_the_views_inverts_the_pose() -> None:
    torch.manual_seed(0)
    model, pairs = IUPPose(TINY), PairSet(fixed_pairs(OPTIONS))
    _, direction_before = swap_errors(model, pairs).median(dim=1).values.tolist()
    losses: list[float] = []
    result = overfit(model, pairs, OPTIONS, lambda step, loss, errors: losses.append(loss))
    angles = torch.rad2deg(length(logarithm(pairs.pairs.R_1_0)))
    assert losses
    assert direction_before > 90.0
    assert result.swap_direction_median < 0.25 * direction_before
    assert result.swap_rotation_median < 0.5 * float(angles.median())
    assert result.rotation_median < 0.5 * float(angles.median())


def test_pairs_come_in_both_orders() -> None:
    pairs = PairSet(fixed_pairs(replace(OPTIONS, pairs=2)))
    target = pairs.target(pairs.everything())
    identity = torch.eye(3).expand(2, 3, 3)
    assert torch.allclose(target.R_1_0[:2] @ target.R_1_0[2:], identity, atol=1e-6)
    back = (target.R_1_0[:2] @ target.t_1_0[2:, :, None])[..., 0]
    assert torch.allclose(target.t_1_0[:2], -back, atol=1e-6)
    assert target.t_1_0.norm(dim=1).min() == pytest.approx(float(target.t_1_0[2:].norm(dim=1).min()))

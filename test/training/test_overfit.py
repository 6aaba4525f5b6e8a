from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from overfit_pairs import OverfitOptions, PairSet, evaluate, fixed_pairs, overfit, swap_errors

from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.rotations import length, logarithm

OPTIONS = OverfitOptions(pairs=3, batch=3, steps=100, width=96, height=64)
# From identity, so that it is the decoders that learn.
TINY = replace(
    PRESETS["small_grid"], initial_pose="identity", width=64, alignment_layers=2, bottleneck=32, head_width=64
)


@pytest.mark.slow
@pytest.mark.skipif(
    "LONG_TESTS" not in os.environ, reason="takes about a minute; LONG_TESTS=1 make test runs it"
)
def test_after_a_short_training_swapping_the_views_inverts_the_pose() -> None:
    torch.manual_seed(0)
    model, pairs = IUPPose(TINY), PairSet(fixed_pairs(OPTIONS))
    _, direction_before = swap_errors(model, pairs).median(dim=1).values.tolist()
    overfit(model, pairs, OPTIONS)
    angles = torch.rad2deg(length(logarithm(pairs.pairs.R_1_0)))
    rotation_error = float(evaluate(model, pairs)[0].median())
    swap_rotation, swap_direction = swap_errors(model, pairs).median(dim=1).values.tolist()
    assert direction_before > 90.0
    assert swap_direction < 0.25 * direction_before
    assert swap_rotation < 0.5 * float(angles.median())
    assert rotation_error < 0.5 * float(angles.median())


def test_pairs_come_in_both_orders() -> None:
    pairs = PairSet(fixed_pairs(replace(OPTIONS, pairs=2)))
    target = pairs.target(pairs.everything())
    identity = torch.eye(3).expand(2, 3, 3)
    assert torch.allclose(target.R_1_0[:2] @ target.R_1_0[2:], identity, atol=1e-6)
    back = (target.R_1_0[:2] @ target.t_1_0[2:, :, None])[..., 0]
    assert torch.allclose(target.t_1_0[:2], -back, atol=1e-6)
    assert target.t_1_0.norm(dim=1).min() == pytest.approx(float(target.t_1_0[2:].norm(dim=1).min()))

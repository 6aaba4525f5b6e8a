from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iup_pose_ros.model.alignment import MATCH_STRIDE, Features
from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.correspondence import SoftCorrespondence, match_rays
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.rays import intrinsics_at_stride, unit_rays

SIZE = (3, 4)


def blank_features() -> Features:
    height, width = (MATCH_STRIDE * side for side in SIZE)
    K = torch.tensor([[[30.0, 0.0, width / 2], [0.0, 30.0, height / 2], [0.0, 0.0, 1.0]]])
    empty = torch.zeros(1, 1, *SIZE)
    return Features(empty, empty, empty, empty, empty, empty, K)


def match(logits: Tensor) -> SoftCorrespondence:
    return match_rays(logits, blank_features(), blank_features())


def test_certain_attention_brings_the_other_views_ray() -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    logits = torch.full((1, 12, 12), -1e4)
    logits[0, torch.arange(12), order] = 0.0
    result = match(logits)
    rays = unit_rays(intrinsics_at_stride(blank_features().intrinsics, MATCH_STRIDE), *SIZE)[0].flatten(1)
    assert torch.allclose(result.view_0.matched[0].flatten(1), rays[:, order], atol=1e-6)
    assert torch.allclose(result.view_1.matched[0].flatten(1)[:, order], rays, atol=1e-6)
    assert torch.allclose(result.view_0.confidence, torch.ones(1, 1, *SIZE))
    assert result.view_0.spread.max() < 1e-3


def test_even_attention_is_unsure_and_wide() -> None:
    result = match(torch.zeros(1, 12, 12))
    assert torch.allclose(result.view_0.confidence, torch.full((1, 1, *SIZE), 1 / 12), atol=1e-6)
    own = result.view_0.own[0].flatten(1)
    angles = torch.acos((own.T @ own).clamp(-1, 1))
    rough = math.sqrt(float(angles.square().mean()) / 2.0)
    assert result.view_0.spread.mean() == pytest.approx(rough, rel=0.2)


def test_confidence_needs_both_directions_to_agree() -> None:
    logits = torch.full((1, 12, 12), -1e4)
    logits[0, :, 5] = 0.0
    confidence = match(logits).view_0.confidence
    assert torch.allclose(confidence, torch.full_like(confidence, 1 / 12), atol=1e-6)


@torch.inference_mode()
def test_untrained_network_matches_a_view_with_itself_by_the_encoders_features() -> None:
    torch.manual_seed(0)
    model = IUPPose(PRESETS["small_grid"]).eval()
    K = torch.tensor([[[100.0, 0.0, 64.0], [0.0, 100.0, 48.0], [0.0, 0.0, 1.0]]])
    noise = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    features = model.encode(torch.nn.functional.interpolate(noise, scale_factor=4.0), K)
    logits = model.match(features, features).correspondence.logits[0]
    assert (logits.argmax(dim=1) == torch.arange(len(logits))).float().mean() > 0.9

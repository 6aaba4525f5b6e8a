from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from iup_pose_ros.model.config import KEYPOINT_ENCODERS, PRESETS
from iup_pose_ros.model.iup_pose import IUPPose
from iup_pose_ros.model.keypoint_alignment import apply_rotary_encoding
from iup_pose_ros.model.keypoint_matching import (
    MINIMUM_PROBABILITY,
    KeypointFeatures,
    KeypointMatcher,
    mutual_matches,
    rays_through,
)
from iup_pose_ros.model.keypoints import sample


@pytest.fixture(scope="module")
def small() -> IUPPose:
    torch.manual_seed(0)
    return IUPPose(PRESETS["small"]).eval()


def features(small: IUPPose, seed: int, height: int = 96, width: int = 128) -> KeypointFeatures:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    K = torch.tensor([[[100.0, 0.0, 64.0], [0.0, 100.0, 48.0], [0.0, 0.0, 1.0]]])
    assert isinstance(small.matcher, KeypointMatcher)
    return small.matcher.encode(image, K)


def test_only_mutual_best_matches_have_a_probability() -> None:
    probability = torch.tensor([[[0.9, 0.05, 0.01], [0.8, 0.01, 0.02], [0.01, 0.02, 0.5]]])
    index_0, index_1, found = mutual_matches(probability.log(), 3)
    assert index_0.tolist() == [[0, 1, 2]]
    assert index_1.tolist() == [[0, 0, 2]]
    assert found[0].tolist() == pytest.approx([0.9, MINIMUM_PROBABILITY, 0.5], abs=2e-3)
    index_0, _, found = mutual_matches(probability.log(), 2)
    assert index_0.tolist() == [[0, 2]]


@pytest.mark.parametrize("name", KEYPOINT_ENCODERS)
def test_the_map_of_descriptors_has_those_of_any_point_if_the_encoder_says_so(name: str) -> None:
    torch.manual_seed(0)
    encoder = KEYPOINT_ENCODERS[name]().eval()
    pixels = torch.tensor([[[20.5, 30.5], [51.4, 12.3], [77.5, 70.6]]])
    with torch.inference_mode():
        maps = encoder(torch.rand(1, 3, 96, 128))
        found = normalize(encoder.describe(maps, pixels), dim=2)
        same = torch.allclose(
            found, normalize(sample(encoder.describe_cells(maps), pixels), dim=2), atol=1e-5
        )
    assert same == encoder.describes_any_point


def test_rays_pass_through_their_pixels() -> None:
    K = torch.tensor([[[100.0, 0.0, 64.0], [0.0, 90.0, 48.0], [0.0, 0.0, 1.0]]])
    rays = rays_through(torch.tensor([[[64.0, 48.0], [164.0, 48.0], [64.0, 138.0]]]), K)
    half = math.sqrt(0.5)
    expected = torch.tensor([[[0.0, 0.0, 1.0], [half, 0.0, half], [0.0, half, half]]])
    assert torch.allclose(rays, expected, atol=1e-6)


def test_rotary_encoding_depends_on_relative_positions_alone() -> None:
    query, key = torch.randn(2, 1, 1, 5, 8, generator=torch.Generator().manual_seed(0))
    phase = torch.rand(1, 1, 5, 4, generator=torch.Generator().manual_seed(1))

    def products(shift: float) -> torch.Tensor:
        cosine, sine = (phase + shift).cos(), (phase + shift).sin()
        position = torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1)
        return apply_rotary_encoding(query, position) @ apply_rotary_encoding(key, position).transpose(2, 3)

    assert torch.allclose(products(0.0), products(1.7), atol=1e-5)


@torch.inference_mode()
def test_matches_stand_in_the_cells_of_their_keypoints(small: IUPPose) -> None:
    first, second = features(small, 0), features(small, 1)
    pair = small.align(first, second)
    view = pair.best.view_0
    cells = view.confidence.flatten() > 0.0
    assert 0 < int(cells.sum()) <= PRESETS["small"].kept_tokens
    assert set(cells.nonzero().flatten().tolist()) <= set(first.cells[0].tolist())
    listed = pair.matches.weights[0] > MINIMUM_PROBABILITY
    assert int(listed.sum()) == int(cells.sum())
    on_map = view.own.flatten(2)[0].T[cells]
    assert torch.allclose(on_map, pair.matches.rays_0[0][listed], atol=1e-6)
    assert torch.allclose(view.matched.flatten(2)[0].T[cells], pair.matches.rays_1[0][listed], atol=1e-6)


@torch.inference_mode()
def test_the_order_of_views_does_not_matter(small: IUPPose) -> None:
    first, second = features(small, 0), features(small, 1)
    forward, backward = small.align(first, second), small.align(second, first)
    assert torch.allclose(
        forward.correspondence.logits, backward.correspondence.logits.transpose(1, 2), atol=1e-4
    )


@torch.inference_mode()
def test_maps_are_computed_for_decoders_only(small: IUPPose) -> None:
    """A network without decoders, which does not compute them, finds the same matches."""
    decoding = IUPPose(replace(PRESETS["small"], decoders=True)).eval()
    decoding.load_state_dict(small.state_dict())
    of_decoders, alone = (
        network.align(features(network, 0), features(network, 1)) for network in (decoding, small)
    )
    assert of_decoders.aligned_0.shape == (1, decoding.matcher.token_channels, 12, 16)
    assert alone.aligned_0.shape == (1, 0, 12, 16)
    for first, second in zip(of_decoders.matches, alone.matches, strict=True):
        assert torch.equal(first, second)


@torch.inference_mode()
def test_without_decoders_the_pose_is_the_one_of_the_matches(small: IUPPose) -> None:
    prediction = small.match(features(small, 0), features(small, 1))
    assert torch.equal(prediction.R_1_0, prediction.R_stage1)
    assert prediction.R_1_0.isfinite().all()
    assert prediction.t_1_0.norm() == pytest.approx(1.0, abs=1e-5)


def test_the_gradient_of_the_pose_reaches_the_stem(small: IUPPose) -> None:
    small.zero_grad()
    prediction = small.match(features(small, 0), features(small, 1))
    prediction.t_1_0[:, 0].sum().backward()
    stem = next(small.matcher.encoder.parameters())
    assert stem.grad is not None
    assert stem.grad.isfinite().all()
    assert stem.grad.any()

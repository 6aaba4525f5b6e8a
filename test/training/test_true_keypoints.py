"""Points of true matches as keypoints of both views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iup_pose_ros.model.config import PRESETS
from iup_pose_ros.model.keypoint_matching import KeypointFeatures, KeypointMatcher
from iup_pose_ros.training.data.batches import SparseMatches
from iup_pose_ros.training.keypoint_targets import View, target_from_matches
from iup_pose_ros.training.true_keypoints import ALONE, DISTANCE, with_true_keypoints

K = torch.tensor([[[80.0, 0.0, 63.5], [0.0, 80.0, 47.5], [0.0, 0.0, 1.0]]])
POINTS = 10


@pytest.fixture(scope="module")
def features() -> tuple[KeypointFeatures, KeypointFeatures]:
    torch.manual_seed(0)
    matcher = KeypointMatcher(replace(PRESETS["small"], tokens=60, decoders=True)).eval()
    with torch.no_grad():
        first, second = (matcher.encode(torch.rand(1, 3, 96, 128), K) for _ in range(2))
    return first, second


def matches(known: int = POINTS) -> SparseMatches:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, POINTS, 2, generator=generator) * torch.tensor([120.0, 90.0])
    depth = torch.ones(1, POINTS)
    return SparseMatches(first, second, depth, depth, torch.arange(POINTS)[None] < known)


def distances(pixels: Tensor, others: Tensor) -> Tensor:
    return (pixels[0, :, None] - others[0]).norm(dim=2)


def test_points_of_most_matches_are_keypoints_of_both_views_and_some_of_one(features):
    views, truth = with_true_keypoints(features[0], features[1], matches()), matches()
    for number, (view, points) in enumerate(zip(views, (truth.pixels_0, truth.pixels_1), strict=True)):
        nearest = distances(points, view.pixels).amin(dim=1)
        there = torch.arange(POINTS) % ALONE != number
        assert (nearest[there] == 0.0).all()
        assert (nearest[~there] > 0.1).all()
        assert view.pixels.shape == features[number].pixels.shape


def test_the_matches_of_these_keypoints_are_known(features):
    truth = matches()
    first, second = with_true_keypoints(features[0], features[1], truth)
    R, t = torch.eye(3)[None], torch.tensor([[1.0, 0.0, 0.0]])
    target = target_from_matches(View(first.pixels, K), View(second.pixels, K), R, t, truth)
    both = [i for i in range(POINTS) if i % ALONE > 1]
    for i in both:
        row = int(distances(truth.pixels_0[:, i : i + 1], first.pixels).argmin())
        column = int(target.match[0, row])
        torch.testing.assert_close(second.pixels[0, column], truth.pixels_1[0, i])


def test_detected_keypoints_next_to_a_point_give_way_and_unknown_points_replace_none(features):
    truth = matches()
    point = features[0].pixels[:, :1] + 0.5  # next to the best one
    crowded = truth._replace(pixels_0=torch.cat([truth.pixels_0[:, :1], point, truth.pixels_0[:, 2:]], dim=1))
    found, _ = with_true_keypoints(features[0], features[1], crowded)
    near = distances(point, found.pixels)[0] < DISTANCE
    assert near.sum() == 1
    unknown, _ = with_true_keypoints(features[0], features[1], matches(known=0))
    torch.testing.assert_close(unknown.pixels.sort(dim=1).values, features[0].pixels.sort(dim=1).values)


def test_cells_rays_and_descriptors_belong_to_the_keypoints(features):
    own = features[0]
    truth = matches()._replace(pixels_0=own.pixels[:, :POINTS])
    found, _ = with_true_keypoints(own, features[1], truth)
    for i in (1, 2, 3, 4):
        row = int(distances(own.pixels[:, i : i + 1], found.pixels).argmin())
        assert found.cells[0, row] == own.cells[0, i]
        torch.testing.assert_close(found.rays[0, row], own.rays[0, i])
        assert found.descriptors[0, row] @ own.descriptors[0, i] > 0.95

"""Which keypoints match, by geometry alone; what it cannot tell stays open."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iup_pose_ros.model.keypoint_alignment import AlignedKeypoints
from iup_pose_ros.training.data.batches import SparseMatches
from iup_pose_ros.training.keypoint_losses import assignment_loss, keypoint_loss, pruning_loss
from iup_pose_ros.training.keypoint_targets import (
    KeypointTarget,
    View,
    off_epipolar_line,
    target_from_depth,
    target_from_matches,
)

K = torch.tensor([[[80.0, 0.0, 47.5], [0.0, 80.0, 31.5], [0.0, 0.0, 1.0]]])
R = torch.eye(3)[None]
T = torch.tensor([[0.5, 0.0, 0.0]])  # 10 pixels at a depth of 4
SHIFT = torch.tensor([10.0, 0.0])
DEPTH = torch.full((1, 64, 96), 4.0)
PIXELS = torch.tensor([[20.3, 20.0], [40.0, 20.6], [60.0, 40.0], [30.0, 50.0], [70.2, 30.0]])
ORDER = torch.tensor([3, 0, 4, 1, 2])


def view(pixels: Tensor) -> View:
    return View(pixels[None], K)


def shifted() -> Tensor:
    """The keypoints of view 0 as view 1 sees them, half a pixel off, in another order."""
    return (PIXELS + SHIFT + torch.tensor([0.3, -0.4]))[ORDER]


def sparse(pixels_0: Tensor, pixels_1: Tensor, known: Tensor | None = None) -> SparseMatches:
    depth = torch.full((1, len(pixels_0)), 4.0)
    mask = torch.ones(1, len(pixels_0), dtype=torch.bool) if known is None else known[None]
    return SparseMatches(pixels_0[None], pixels_1[None], depth, depth, mask)


def test_depth_tells_the_partner_of_every_keypoint():
    target = target_from_depth(view(PIXELS), view(shifted()), R, T, DEPTH, DEPTH)
    assert target.match[0].tolist() == ORDER.argsort().tolist()
    assert not target.unmatched_0.any()
    assert not target.unmatched_1.any()


def test_exchanging_the_views_inverts_the_assignment():
    pixels_1 = shifted()[:4]
    there = target_from_depth(view(PIXELS), view(pixels_1), R, T, DEPTH, DEPTH)
    back = target_from_depth(view(pixels_1), view(PIXELS), R, -T, DEPTH, DEPTH)
    for row, column in enumerate(there.match[0].tolist()):
        assert column < 0 or back.match[0, column] == row
    assert int((back.match >= 0).sum()) == int((there.match >= 0).sum()) == 4
    assert torch.equal(there.unmatched_0, back.unmatched_1)
    assert there.unmatched_0[0].tolist() == [i == int(ORDER[4]) for i in range(5)]


def test_beyond_the_border_and_behind_a_nearer_surface_there_is_no_match():
    leaving = torch.tensor([[90.0, 30.0], [40.0, 20.0]])
    nearer = DEPTH.clone()
    nearer[:, :, 45:56] = 2.0  # hides what view 0 sees at column 40
    target = target_from_depth(view(leaving), view(leaving + SHIFT), R, T, DEPTH, nearer)
    assert target.match[0].tolist() == [-1, -1]
    assert target.unmatched_0[0].tolist() == [True, True]


@pytest.mark.parametrize(("off", "match", "unmatched"), [(2.5, 0, False), (4.0, -1, False), (7.0, -1, True)])
def test_a_keypoint_between_near_and_far_is_left_open(off, match, unmatched):
    pixels = torch.tensor([[40.0, 30.0]])
    target = target_from_depth(
        view(pixels), view(pixels + SHIFT + off * torch.tensor([0.6, 0.8])), R, T, DEPTH, DEPTH
    )
    assert target.match[0].tolist() == [match]
    assert target.unmatched_0[0].tolist() == [unmatched]
    assert target.unmatched_1[0].tolist() == [unmatched]


@pytest.mark.parametrize("where", ["unknown", "edge"])
def test_without_certain_depth_a_keypoint_is_neither_matched_nor_unmatched(where):
    depth = DEPTH.clone()
    depth[:, :, :21] = 0.0 if where == "unknown" else 6.0
    target = target_from_depth(view(PIXELS), view(shifted()), R, T, depth, DEPTH)
    assert target.match[0, 0] == -1
    assert not target.unmatched_0[0, 0]
    assert (target.match[0, 1:] >= 0).all()


def test_the_sky_moves_with_the_rotation_alone():
    sky = torch.full_like(DEPTH, torch.inf)
    target = target_from_depth(view(PIXELS), view(PIXELS), R, T, sky, sky)
    assert target.match[0].tolist() == list(range(5))


def test_keypoints_next_to_both_points_of_a_true_match_belong_together():
    points = PIXELS[:3]
    near = torch.tensor([1.2, -1.0])
    target = target_from_matches(
        view(PIXELS + near),
        view(shifted()),
        R,
        T,
        sparse(points, points + SHIFT, torch.tensor([1, 1, 0]) > 0),
    )
    expected = ORDER.argsort().tolist()
    assert target.match[0].tolist() == [*expected[:2], -1, -1, -1]
    assert not target.unmatched_0.any()


def test_a_true_match_without_keypoint_in_the_other_view_leaves_its_keypoint_alone():
    points = PIXELS[:2]
    target = target_from_matches(
        view(PIXELS), view(PIXELS[1:2] + SHIFT), R, T, sparse(points, points + SHIFT)
    )
    assert target.match[0].tolist() == [-1, 0, -1, -1, -1]
    assert target.unmatched_0[0].tolist() == [True, False, False, False, False]
    assert not target.unmatched_1.any()


def test_keypoints_far_off_the_epipolar_lines_are_impossible_and_no_true_match_is():
    far = PIXELS + SHIFT + torch.tensor([5.0, 20.0])
    nothing = sparse(PIXELS[:1], PIXELS[:1], torch.tensor([False]))
    for turn in (0.0, 0.1):
        cosine, sine = torch.tensor(turn).cos(), torch.tensor(turn).sin()
        R_1_0 = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]])
        moved = (PIXELS - K[0, :2, 2]) @ R_1_0[0, :2, :2].T + K[0, :2, 2]
        assert not off_epipolar_line(view(PIXELS), view(moved + SHIFT), R_1_0, T)[0].diagonal().any()
    target = target_from_matches(view(PIXELS), view(far), R, T, nothing)
    assert target.impossible is not None
    assert target.impossible[0].diagonal().all()


def assignment(similarity: Tensor, matchable: Tensor) -> AlignedKeypoints:
    """All keypoints kept, and the early guess as the late one."""
    log_probability = similarity.log_softmax(dim=2) + similarity.log_softmax(dim=1)
    everything = torch.arange(similarity.shape[1])[None]
    tokens = torch.zeros(1, similarity.shape[1], 1)
    logits = (matchable, matchable, matchable, matchable)
    return AlignedKeypoints(everything, everything, tokens, tokens, log_probability, *logits)


def test_the_loss_prefers_the_true_assignment_and_leaves_open_keypoints_alone():
    match = torch.tensor([[1, 0, -1, -1]])
    alone = torch.tensor([[False, False, True, False]])
    target = KeypointTarget(match, alone, torch.zeros(1, 4, dtype=torch.bool))
    right, wrong = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    right[0, 0, 1] = right[0, 1, 0] = wrong[0, 0, 0] = wrong[0, 1, 1] = 8.0
    sure = torch.tensor([[4.0, 4.0, -4.0, 0.0]])
    assert assignment_loss(assignment(right, sure), target) < 0.1
    assert assignment_loss(assignment(wrong, sure), target) > 8.0
    assert assignment_loss(assignment(100.0 * wrong, sure), target) < 10.0  # hopeless: pulls no more
    assert assignment_loss(assignment(right, -sure), target) > 1.9
    logits = torch.zeros(1, 4, requires_grad=True)
    assignment_loss(assignment(right, logits), target).backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] > 0.0
    assert logits.grad[0, 3] == 0.0


def test_the_early_guess_is_taught_who_has_a_match():
    target = KeypointTarget(
        torch.tensor([[1, -1, -1]]),
        torch.tensor([[False, True, False]]),
        torch.tensor([[True, False, False]]),
    )
    logits = torch.zeros(1, 3, requires_grad=True)
    aligned = assignment(torch.zeros(1, 3, 3), torch.zeros(1, 3))._replace(pruning_0=logits, pruning_1=logits)
    keypoint_loss(aligned, target).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0], torch.tensor([-0.25 + 0.25, 0.25 - 0.25, 0.0]))
    only_0 = torch.zeros(1, 3, requires_grad=True)
    pruning_loss(aligned._replace(pruning_0=only_0), target).backward()
    assert only_0.grad is not None
    torch.testing.assert_close(only_0.grad[0], torch.tensor([-0.25, 0.25, 0.0]))


def test_of_the_keypoints_kept_a_match_points_to_the_place_among_these():
    impossible = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    target = KeypointTarget(
        torch.tensor([[4, 0, -1, 2]]),
        torch.tensor([[False, False, True, False]]),
        torch.tensor([[False, True, False, False, False]]),
        impossible,
    )
    kept_0, kept_1 = torch.tensor([[0, 2, 3]]), torch.tensor([[1, 2, 3]])
    found = target.kept(kept_0, kept_1)
    assert found.match[0].tolist() == [-1, -1, 1]
    assert found.unmatched_0[0].tolist() == [False, True, False]
    assert found.unmatched_1[0].tolist() == [True, False, False]
    assert found.impossible is not None
    assert torch.equal(found.impossible[0], impossible[0][kept_0[0]][:, kept_1[0]])
    assert target.matched_1[0].tolist() == [True, False, True, False, True]


def test_probability_leaves_impossible_matches():
    impossible = torch.zeros(1, 3, 3, dtype=torch.bool)
    impossible[0, 0, 2] = True
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    target = KeypointTarget(torch.full((1, 3), -1), nothing, nothing, impossible)
    similarity = torch.zeros(1, 3, 3)
    similarity[0, 0, 2] = 2.0
    similarity.requires_grad_()
    loss = assignment_loss(assignment(similarity, torch.zeros(1, 3)), target)
    loss.backward()
    assert loss > 0.0
    assert similarity.grad is not None
    assert similarity.grad[0, 0, 2] > 0.0
    assert (similarity.grad[0, 0, :2] < 0.0).all()
    similarity.data[0, 0, 2] = 1e4
    assert torch.isfinite(assignment_loss(assignment(similarity, torch.zeros(1, 3)), target))

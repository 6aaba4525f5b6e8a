from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from iup_pose_ros.estimators.matching.features import (
    LucasKanadeConfig,
    LucasKanadeFrontEnd,
    SiftFrontEnd,
    detect_corners,
    evenly_exposed,
    mutual_ratio_matches,
    track_points,
)
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame, Matches

FRONT_ENDS = [LucasKanadeFrontEnd(), SiftFrontEnd()]


def texture(height: int = 240, width: int = 320, seed: int = 0) -> NDArray[np.uint8]:
    """Grey noise of three scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width))
    for blur in (1.5, 3.0, 6.0):
        image += cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), blur) * blur
    return np.clip(128.0 + 90.0 * image, 0, 255).astype(np.uint8)


def warped(image: NDArray[np.uint8], homography: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image in which the point x of ``image`` lies at homography x."""
    size = image.shape[1::-1]
    return np.asarray(
        cv2.warpPerspective(image, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT),
        dtype=np.uint8,
    )


def shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def as_frame(image: NDArray[np.uint8]) -> Frame:
    height, width = image.shape[:2]
    return Frame(image, Intrinsics(300.0, 300.0, width / 2, height / 2, width, height), 0.0, "camera")


def distance_to_homography(matches: Matches, homography: NDArray[np.float64]) -> NDArray[np.float64]:
    expected = cv2.perspectiveTransform(matches.points_prev[:, None], homography)[:, 0]
    return np.linalg.norm(expected - matches.points_curr, axis=1)


def distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(first[:, None] - second[None], axis=2)


def test_corners_keep_their_distance_from_each_other_and_from_existing_points():
    existing = detect_corners(texture(), 20, 15.0)
    corners = detect_corners(texture(), 200, 10.0, existing)
    between = distances(corners, corners) + 1e9 * np.eye(len(corners))
    assert len(existing) == 20
    assert len(corners) > 50
    assert between.min() >= 10.0
    assert distances(corners, existing).min() >= 9.0


@pytest.mark.parametrize("wanted", [0, -3])
def test_no_corners_are_found_where_none_are_wanted(wanted: int):
    assert detect_corners(texture(), wanted, 10.0).shape == (0, 2)


def test_a_plain_image_has_no_corners():
    assert detect_corners(np.full((100, 100), 90, np.uint8), 50, 5.0).shape == (0, 2)


def test_tracking_finds_a_subpixel_shift():
    first = texture()
    points = detect_corners(first[30:-30, 30:-30], 100, 10.0) + 30.0
    tracked, valid = track_points(first, warped(first, shift(3.3, -2.6)), points)
    assert valid.mean() > 0.95
    assert np.abs(tracked[valid] - points[valid] - (3.3, -2.6)).max() < 0.15


def test_points_that_leave_the_image_are_not_valid():
    first = texture()
    points = np.array([[8.0, 100.0], [160.0, 100.0]])
    _, valid = track_points(first, warped(first, shift(-15.0, 0.0)), points)
    assert valid.tolist() == [False, True]


def test_an_initial_guess_lets_tracking_follow_a_motion_beyond_its_reach():
    first, far = texture(), shift(90.0, 0.0)
    points = detect_corners(first[20:-20, 20:-120], 80, 10.0) + 20.0
    config = LucasKanadeConfig(levels=1)
    second = warped(first, far)

    def share_right(initial: NDArray[np.float64] | None) -> float:
        tracked, valid = track_points(first, second, points, initial, config)
        return float(np.mean(valid & (np.linalg.norm(tracked - points - (90.0, 0.0), axis=1) < 0.5)))

    assert share_right(None) < 0.1
    assert share_right(points + np.array([88.0, 1.0])) > 0.9


def test_no_points_are_tracked_to_no_points():
    tracked, valid = track_points(texture(), texture(), np.zeros((0, 2)))
    assert tracked.shape == (0, 2)
    assert valid.shape == (0,)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda front_end: front_end.name)
def test_matches_follow_a_homography(front_end):
    homography = shift(6.0, -4.0) @ np.array([[1.02, 0.03, 0.0], [-0.03, 1.02, 0.0], [1e-5, 0.0, 1.0]])
    matches = front_end.match(as_frame(texture()), as_frame(warped(texture(), homography)))
    error = distance_to_homography(matches, homography)
    assert len(matches) > 150
    assert np.mean(error < 1.0) > 0.9
    assert np.median(error) < 0.2


def test_sift_matches_across_a_rotation_and_scale_that_tracking_cannot_follow():
    turned = cv2.getRotationMatrix2D((160.0, 120.0), 70.0, 0.8)
    homography = np.vstack([turned, [0.0, 0.0, 1.0]])
    first, second = as_frame(texture()), as_frame(warped(texture(), homography))
    error = distance_to_homography(SiftFrontEnd().match(first, second), homography)
    assert np.count_nonzero(error < 1.5) > 50
    assert np.mean(error < 1.5) > 0.8


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda front_end: front_end.name)
def test_images_of_two_sizes_are_matched_inside_both(front_end):
    small = np.ascontiguousarray(texture()[:200, :250])
    for first, second in ((texture(), small), (small, texture())):
        matches = front_end.match(as_frame(first), as_frame(second))
        assert len(matches) > 100
        assert np.median(np.linalg.norm(matches.points_prev - matches.points_curr, axis=1)) < 0.1
        for points, image in ((matches.points_prev, first), (matches.points_curr, second)):
            assert np.all(points <= (image.shape[1] - 1, image.shape[0] - 1))


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda front_end: front_end.name)
def test_plain_images_have_no_matches(front_end):
    plain = as_frame(np.full((120, 160), 77, np.uint8))
    assert len(front_end.match(plain, plain)) == 0
    assert len(front_end.match(plain, as_frame(texture()))) == 0


def test_descriptors_match_only_if_mutual_and_distinct():
    # Angles on the unit circle stand for descriptors; the nearest angle is the nearest descriptor.
    previous = np.radians([0.0, 5.0, 40.0, 90.0])
    current = np.radians([0.5, 38.0, 88.0, 92.5])
    descriptors = [np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32) for a in (previous, current)]
    rows, columns = mutual_ratio_matches(descriptors[0], descriptors[1], ratio=0.7)
    # 5 deg is second best for 0.5 deg; 90 deg has two current descriptors about equally near.
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (2, 1)]


@pytest.mark.parametrize("gain", [0.25, 0.35, 1.0 / 0.35, 4.0])
def test_tracks_survive_a_jump_of_the_exposure(gain):
    rng = np.random.default_rng(3)
    scene = cv2.GaussianBlur(rng.normal(0.0, 1.0, (240, 330)), (0, 0), 2.0)
    scene = np.clip(120.0 + 40.0 * scene / scene.std(), 0, 255)
    bright = scene[:, 3:323]
    first, second = (scene[:, :320], gain * bright) if gain < 1.0 else (scene[:, :320] / gain, bright)
    first, second = (np.round(image).clip(0, 255).astype(np.uint8) for image in (first, second))
    corners = detect_corners(first, 300, 8.0)
    points, valid = track_points(first, second, corners)
    assert len(corners) > 150
    assert np.mean(valid) > 0.9
    np.testing.assert_allclose(np.median(points[valid] - corners[valid], axis=0), [-3.0, 0.0], atol=0.05)


def test_images_of_even_exposure_are_left_as_they_are():
    rng = np.random.default_rng(3)
    first = rng.integers(0, 255, (60, 80), dtype=np.uint8)
    second = np.roll(first, 5, axis=1)
    assert evenly_exposed(first, second)[0] is first
    black = np.zeros_like(first)
    assert evenly_exposed(first, black)[1] is black

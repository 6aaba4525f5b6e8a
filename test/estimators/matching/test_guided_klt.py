from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from iup_pose_ros.estimators.matching.features import LucasKanadeFrontEnd
from iup_pose_ros.estimators.matching.guided_klt import RETRACKED, GuidedTracker
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame, Matches

WIDTH, HEIGHT = 320, 240


def texture(seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    layers = [blur * cv2.GaussianBlur(rng.normal(size=(480, 640)), (0, 0), blur) for blur in (1.5, 3.0, 6.0)]
    return np.clip(128.0 + 90.0 * np.sum(layers, axis=0), 0, 255).astype(np.uint8)


def as_frame(image: NDArray[np.uint8]) -> Frame:
    height, width = image.shape
    return Frame(image, Intrinsics(300.0, 300.0, width / 2, height / 2, width, height), 0.0, "camera")


def turned_and_grown(height: int = HEIGHT) -> tuple[Frame, Frame, NDArray[np.float64]]:
    """Two frames and the homography between their pixels: 40 degrees, 1.4 times, 35 pixels."""
    turn = cv2.getRotationMatrix2D((160.0, 120.0), 40.0, 1.4)
    homography = np.vstack([turn, [0.0, 0.0, 1.0]])
    homography[:2, 2] += (30.0, -18.0)
    source = texture()
    first = np.ascontiguousarray(source[120 : 120 + HEIGHT, 160 : 160 + WIDTH])
    crop = np.array([[1.0, 0.0, -160.0], [0.0, 1.0, -120.0], [0.0, 0.0, 1.0]])
    second = cv2.warpPerspective(source, homography @ crop, (WIDTH, height), flags=cv2.INTER_CUBIC)
    return as_frame(first), as_frame(np.asarray(second, dtype=np.uint8)), homography


def coarse(homography: NDArray[np.float64], rng: np.random.Generator, error: float) -> Matches:
    """Matches on a grid, wrong by ``error`` pixels, one in six grossly."""
    x, y = np.meshgrid(np.arange(8.0, WIDTH, 16.0), np.arange(8.0, HEIGHT, 16.0))
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    goals = cv2.perspectiveTransform(points[:, None], homography)[:, 0]
    goals = np.asarray(goals, np.float64) + rng.normal(size=goals.shape) * error / np.sqrt(2.0)
    wrong = rng.random(len(goals)) < 1 / 6
    goals[wrong] = rng.uniform([0.0, 0.0], [WIDTH, HEIGHT], (int(wrong.sum()), 2))
    return Matches(points, goals)


def count_right(matches: Matches, homography: NDArray[np.float64]) -> int:
    expected = cv2.perspectiveTransform(matches.points_prev[:, None], homography)[:, 0]
    return int(np.count_nonzero(np.linalg.norm(expected - matches.points_curr, axis=1) < 0.7))


@pytest.mark.parametrize("error", [4.0, 10.0, 20.0])
def test_tracks_follow_a_turn_and_growth_from_coarse_matches_on(error: float):
    first, second, homography = turned_and_grown()
    prior = coarse(homography, np.random.default_rng(1), error)
    matches = GuidedTracker().match(first, second, prior, np.ones(len(prior)))
    right = count_right(matches, homography)
    assert right > 150
    assert right > 0.9 * len(matches)
    plain = LucasKanadeFrontEnd().match(first, second)
    assert right > 10 * count_right(plain, homography)


def test_tracks_follow_a_change_of_exposure_and_of_light_across_the_image():
    first, second, homography = turned_and_grown()
    prior = coarse(homography, np.random.default_rng(1), 4.0)
    shade = np.linspace(0.3, 0.7, WIDTH)
    darker = as_frame((10.0 + shade * second.grey).astype(np.uint8))
    matches = GuidedTracker().match(first, darker, prior, np.ones(len(prior)))
    right = count_right(matches, homography)
    assert right > 150
    assert right > 0.9 * len(matches)


def test_tracks_are_made_exact_by_tracking_them_anew():
    first, second, homography = turned_and_grown()
    rng = np.random.default_rng(1)
    points = rng.uniform([0.0, 0.0], [WIDTH, HEIGHT], (150, 2))
    goals = cv2.perspectiveTransform(points[:, None], homography)[:, 0]
    drifted = Matches(points, goals + rng.normal(size=goals.shape))
    matches = GuidedTracker(RETRACKED).match(first, second, drifted, np.ones(len(drifted)))
    assert count_right(drifted, homography) < 0.5 * len(drifted)
    assert count_right(matches, homography) > 150
    assert count_right(matches, homography) > 0.85 * len(matches)


def test_images_may_differ_in_size_and_tracks_end_inside():
    first, second, homography = turned_and_grown(height=180)
    prior = coarse(homography, np.random.default_rng(1), 4.0)
    matches = GuidedTracker().match(first, second, prior, np.ones(len(prior)))
    assert count_right(matches, homography) > 80
    assert matches.points_curr.min() >= 0.0
    assert (matches.points_curr <= (WIDTH - 1, 179)).all()


def test_there_are_no_tracks_without_corners_or_without_coarse_matches():
    blank = as_frame(np.full((HEIGHT, WIDTH), 128, np.uint8))
    first, second, homography = turned_and_grown()
    prior = coarse(homography, np.random.default_rng(1), 4.0)
    nothing = Matches(np.zeros((0, 2)), np.zeros((0, 2)))
    assert len(GuidedTracker().match(blank, blank, prior, np.ones(len(prior)))) == 0
    assert len(GuidedTracker().match(first, second, nothing, np.zeros(0))) == 0
    # Corners whose goals are blank.
    assert len(GuidedTracker().match(first, blank, prior, np.ones(len(prior)))) < 20


def test_corners_of_what_the_current_image_hardly_shows_are_not_tracked():
    first, second, homography = turned_and_grown()
    prior = coarse(homography, np.random.default_rng(1), 4.0)
    left = prior.points_prev[:, 0] < WIDTH / 2
    matches = GuidedTracker().match(first, second, prior, np.where(left, 0.001, 1.0))
    assert count_right(matches, homography) > 80
    assert matches.points_prev[:, 0].min() > WIDTH / 2 - 16.0

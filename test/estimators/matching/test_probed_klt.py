from __future__ import annotations

import cv2
import numpy as np
import pytest

from iup_pose_ros.estimators.matching.features import LucasKanadeConfig, track_between
from iup_pose_ros.estimators.matching.probed_klt import ProbedLucasKanadeFrontEnd, ProbedTracksConfig
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.types import Frame

WIDTH, HEIGHT = 640, 480
SHIFT = np.array([5.0, -3.0])


def frame(seed: int, shift: tuple[int, int] = (0, 0)) -> Frame:
    """A texture, moved by whole pixels."""
    rng = np.random.default_rng(seed)
    layers = [blur * cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), blur) for blur in (1.5, 4.0)]
    image = np.clip(128.0 + 90.0 * np.sum(layers, axis=0), 0, 255).astype(np.uint8)
    moved = np.roll(image, (shift[1], shift[0]), axis=(0, 1))
    return Frame(moved, Intrinsics(500.0, 500.0, 320.0, 240.0, WIDTH, HEIGHT), 0.0, "camera")


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Numbers of points that are tracked, call by call."""
    counts: list[int] = []

    def counting(previous, current, points, config):
        counts.append(len(points))
        return track_between(previous, current, points, config)

    monkeypatch.setattr("iup_pose_ros.estimators.matching.probed_klt.track_between", counting)
    return counts


def test_tracks_follow_a_motion_and_no_more_are_sought_than_are_needed(counted):
    config = ProbedTracksConfig(probes=100, target=300)
    matches = ProbedLucasKanadeFrontEnd(config).match(frame(0), frame(0, (5, -3)))
    errors = np.linalg.norm(matches.points_curr - matches.points_prev - SHIFT, axis=1)
    assert np.mean(errors < 0.1) > 0.95
    assert 250 < len(matches) < 350
    assert 100 <= counted[0] < 200
    assert sum(counted) < 400
    assert len(np.unique(matches.points_prev, axis=0)) == len(matches)


def test_frames_that_show_different_things_cost_the_probes_alone(counted):
    config = ProbedTracksConfig(probes=100)
    assert len(ProbedLucasKanadeFrontEnd(config).match(frame(0), frame(1))) < 0.05 * counted[0]
    assert len(counted) == 1
    assert counted[0] < 200


def test_probes_lie_all_over_the_image(counted):
    config = ProbedTracksConfig(probes=100, target=1)
    matches = ProbedLucasKanadeFrontEnd(config).match(frame(0), frame(0, (5, -3)))
    quadrants = (matches.points_prev > (WIDTH / 2, HEIGHT / 2)) @ (1, 2)
    assert np.bincount(quadrants, minlength=4).min() > 10


def test_images_without_corners_have_no_tracks():
    blank = frame(0)
    blank = Frame(np.full((HEIGHT, WIDTH), 128, np.uint8), blank.intrinsics, 0.0, "camera")
    assert len(ProbedLucasKanadeFrontEnd().match(blank, frame(0))) == 0
    few = ProbedTracksConfig(probes=100, tracking=LucasKanadeConfig(max_corners=3))
    assert len(ProbedLucasKanadeFrontEnd(few).match(frame(0), frame(0, (5, -3)))) <= 3

from __future__ import annotations

import numpy as np
from odometry_scenes import INTRINSICS

from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.keyframes import StationaryDetector
from iup_pose_ros.odometry.tracks import Tracks
from iup_pose_ros.types import Frame

CONFIG = OdometryConfig(stationary_motion=0.002, stationary_window=0.5, stationary_hysteresis=2.0)
LIMIT = 0.002 * 320
IMAGE = np.zeros((240, 320), dtype=np.uint8)


def tracks(stamp: float, shift: float = 0.0, movers: int = 0, noise: float = 0.2, count: int = 200) -> Tracks:
    """Tracks that have shifted by so many pixels; the first ones move on their own."""
    rng = np.random.default_rng(int(stamp * 1000))
    points = np.random.default_rng(0).uniform(10.0, 230.0, (count, 2))
    now = rng.normal(points, noise)
    now[:, 0] += shift
    now[:movers, 0] += 30.0 * stamp
    frame = Frame(IMAGE, INTRINSICS, stamp, "camera")
    return Tracks(frame, frame, np.arange(count), points, now, count, 0)


def at_rest(detector: StationaryDetector, frames: list[Tracks]) -> list[bool]:
    return [detector.update(frame) for frame in frames]


def test_camera_is_at_rest_after_the_window_and_not_before():
    answers = at_rest(StationaryDetector(CONFIG), [tracks(0.1 * k) for k in range(10)])
    assert answers == [False] * 5 + [True] * 5


def test_moving_camera_is_never_at_rest():
    answers = at_rest(StationaryDetector(CONFIG), [tracks(0.1 * k, shift=k * LIMIT) for k in range(20)])
    assert not any(answers)


def test_a_third_of_moving_objects_does_not_wake_the_camera():
    detector = StationaryDetector(CONFIG)
    assert at_rest(detector, [tracks(0.1 * k, movers=66) for k in range(20)])[-1]


def test_creeping_motion_ends_the_rest_once_it_adds_up():
    answers = at_rest(StationaryDetector(CONFIG), [tracks(0.1 * k, shift=0.1 * LIMIT * k) for k in range(40)])
    assert answers[6]
    assert not all(answers[6:])


def test_rest_ends_only_beyond_the_hysteresis():
    detector = StationaryDetector(CONFIG)
    at_rest(detector, [tracks(0.1 * k) for k in range(10)])
    assert detector.update(tracks(1.0, shift=1.6 * LIMIT))
    assert not detector.update(tracks(1.1, shift=2.4 * LIMIT))


def test_too_few_tracks_are_no_evidence_of_rest():
    detector = StationaryDetector(CONFIG)
    assert not any(at_rest(detector, [tracks(0.1 * k, count=20) for k in range(20)]))


def test_reset_forgets_the_rest():
    detector = StationaryDetector(CONFIG)
    at_rest(detector, [tracks(0.1 * k) for k in range(10)])
    detector.reset()
    assert not detector.update(tracks(1.0))

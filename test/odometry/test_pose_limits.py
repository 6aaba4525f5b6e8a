"""An estimator's answer passes exactly up to the configured limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, pose, relative_pose

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.pose_check import check
from iup_pose_ros.odometry.track_geometry import TrackedRays
from iup_pose_ros.types import Matches

WRONG = 50.0  # pixels off the epipolar line: no noise makes that


def passes(config: OdometryConfig, errors: np.ndarray, sigma_R: float = 1e-9, turn: float = 0.0) -> bool:
    """Whether a step to the right, by tracks that are so many pixels off their rows (N,), is accepted."""
    previous = np.random.default_rng(0).uniform([100.0, 60.0], [220.0, 180.0], (len(errors), 2))
    current = previous + np.column_stack([np.full(len(errors), -20.0), errors])
    rays = TrackedRays.of(np.arange(len(errors)), Matches(previous, current), INTRINSICS)
    relative = replace(relative_pose(pose(1.0)), sigma_R=np.full(3, sigma_R))
    if turn:
        relative = relative_pose(pose(1.0, turn=(0.0, turn, 0.0)))
    try:
        check(relative, rays, 0.5, config)
    except EstimationError:
        return False
    return True


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.8])
def test_the_share_of_agreeing_tracks_decides_at_the_configured_value(fraction: float):
    config = OdometryConfig(minimum_inlier_fraction=fraction)
    agreeing = round(100 * fraction)
    for count, accepted in ((agreeing, True), (agreeing - 1, False)):
        errors = np.where(np.arange(100) < count, 0.0, WRONG)
        assert passes(config, errors) is accepted


@pytest.mark.parametrize(
    ("sigma_R", "limit"),
    [(1e-9, 1.5), (0.01, 3.0 * np.hypot(0.5, 2.6))],
    ids=["of a pixel", "of the rotation too"],
)
def test_a_track_agrees_within_three_deviations(sigma_R: float, limit: float):
    """A deviation is 1 / 640 of the image width, here half a pixel, and focal length times sigma_R."""
    for factor, accepted in ((0.95, True), (1.05, False)):
        assert passes(OdometryConfig(), np.full(100, factor * limit), sigma_R) is accepted


def test_fewer_tracks_than_the_minimum_are_not_asked():
    config = OdometryConfig(minimum_tracks=40)
    assert passes(config, np.full(39, WRONG))
    assert not passes(config, np.full(40, WRONG))


def test_the_rotation_rate_is_limited_at_the_configured_value():
    """The interval is half a second: 0.5 rad are 1 rad/s."""
    few = np.zeros(8)
    assert passes(OdometryConfig(maximum_rotation_rate=1.01), few, turn=0.5)
    assert not passes(OdometryConfig(maximum_rotation_rate=0.99), few, turn=0.5)

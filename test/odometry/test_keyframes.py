from __future__ import annotations

import pytest

from iup_pose_ros.odometry import OdometryConfig
from iup_pose_ros.odometry.keyframes import Motion, is_keyframe

CONFIG = OdometryConfig(
    keyframe_parallax=0.02, keyframe_rotation=0.1, keyframe_tracked_fraction=0.6, keyframe_interval=1.0
)


@pytest.mark.parametrize(
    ("parallax", "rotation", "fraction", "interval", "expected"),
    [
        (0.019, 0.09, 0.61, 0.9, False),
        (0.021, 0.0, 1.0, 0.1, True),
        (0.0, 0.11, 1.0, 0.1, True),
        (0.0, 0.0, 0.59, 0.1, True),
        (0.0, 0.0, 1.0, 1.1, True),
    ],
)
def test_each_threshold_alone_makes_a_keyframe(
    parallax: float, rotation: float, fraction: float, interval: float, expected: bool
):
    assert is_keyframe(Motion(parallax, rotation), fraction, interval, CONFIG) is expected

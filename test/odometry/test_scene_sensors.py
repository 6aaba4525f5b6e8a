"""Messages of a range sensor: which are measurements, at which stamp, and where on the robot."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from odometry_scenes import pose

from iup_pose_ros.errors import EstimationError, IupPoseError
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.scene_sensors import MessageHistory, RangeHistory


def range_message(
    value: float,
    stamp: int = 5,
    frame: str = "sensor",
    limits: tuple[float, float] = (0.2, 8.0),
    field_of_view: float = 0.1,
) -> SimpleNamespace:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp, nanosec=0), frame_id=frame)
    low, high = limits
    return SimpleNamespace(
        header=header, range=value, min_range=low, max_range=high, field_of_view=field_of_view
    )


def range_history(message: SimpleNamespace) -> RangeHistory:
    messages = MessageHistory("range")
    messages.add(message)
    return RangeHistory(messages, 0.02, lambda seconds: round(seconds * 1e9), lambda *_: pose())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.inf, "range inf m is out of reach; the sensor measures 0.2 to 8 m"),
        (-np.inf, "range -inf m is too near"),
        (np.nan, "range nan m is invalid"),
        (0.1, "range 0.1 m is too near"),
        (9.0, "range 9 m is out of reach"),
    ],
)
def test_ranges_without_a_target_are_told_apart(value, reason):
    with pytest.raises(EstimationError, match=reason):
        range_history(range_message(value)).at(5.0)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (range_message(0.0, limits=(0.0, 8.0)), "range 0 m is too near; the sensor measures 0.001 to 8 m"),
        (range_message(1e30, limits=(0.0, np.inf)), r"range 1e\+30 m is out of reach"),
        (range_message(2.0, field_of_view=27.0), "field of view of 27 rad; 0 to pi is accepted"),
        (range_message(2.0, field_of_view=np.nan), "field of view of nan rad"),
    ],
)
def test_a_range_that_its_own_limits_allow_must_be_plausible(message, reason):
    with pytest.raises(EstimationError, match=reason):
        range_history(message).at(5.0)


def test_a_range_is_a_point_on_the_x_axis_of_its_frame():
    messages = MessageHistory("range")
    with pytest.raises(EstimationError, match="no range received"):
        messages.nearest(0, 1.0)
    messages.add(range_message(2.0))
    mounts = {"sensor": pose(0.1, 0.2, 0.3, (0.0, np.pi / 2.0, 0.0))}

    def find(frame: str, stamp: object) -> Pose:
        if frame not in mounts:
            raise IupPoseError(f"no transform of {frame}")
        return mounts[frame]

    history = RangeHistory(messages, 0.02, lambda seconds: round(seconds * 1e9), find)
    np.testing.assert_allclose(history.at(5.01).point, [0.1, 0.2, -1.7], atol=1e-12)
    with pytest.raises(EstimationError, match=r"the nearest range differs by 0.030 s .* maximum 0.02 s"):
        history.at(5.03)
    messages.add(range_message(2.0, 6, "elsewhere"))
    with pytest.raises(EstimationError, match="no transform of elsewhere"):
        history.at(6.0)
    messages.add(range_message(3.0, 2))
    assert messages.nearest(2 * 10**9, 0.0).range == 3.0
    with pytest.raises(EstimationError, match=r"differs by 4.000 s"):
        messages.nearest(6 * 10**9, 0.5)

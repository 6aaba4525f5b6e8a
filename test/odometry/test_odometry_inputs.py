"""Frames that the odometry does not take as they come: stamps, calibrations, sizes, repeated pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import INTRINSICS, PERIOD, drive, forward_right, frame, odometry, states

from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.types import Frame


@pytest.mark.parametrize("stamp", [1.4, 1.0, float("nan"), float("-inf")])
def test_stamp_that_does_not_increase_is_refused_counted_and_changes_nothing(stamp: float):
    vo, _ = odometry(forward_right)
    drive(vo, forward_right, range(15))
    update = vo.process(replace(frame(1.4, forward_right(1.4)), stamp=stamp))
    assert update.state is TrackingState.TRACKING
    assert "non-monotonic timestamp" in update.reason
    assert (update.pose, update.edge, update.twist) == (None, None, None)
    assert vo.refused_frames == 1
    assert states(drive(vo, forward_right, range(15, 20))) == {TrackingState.TRACKING}


def test_clock_set_back_starts_a_new_keyframe_from_the_last_pose():
    vo, _oracle = odometry(forward_right)
    before = [update for update in drive(vo, forward_right, range(100, 115)) if update.pose][-1]
    restart = vo.process(frame(0.0, forward_right(0.0)))
    assert restart.state is TrackingState.INITIALIZING
    assert "clock" in restart.reason
    assert vo.refused_frames == 0
    first = next(update for update in drive(vo, forward_right, range(1, 20)) if update.edge)
    expected = before.pose.pose @ first.edge.base.pose
    np.testing.assert_allclose(first.pose.pose.matrix, expected.matrix, atol=1e-9)
    assert np.trace(first.pose.covariance) > np.trace(before.pose.covariance)


def test_change_of_calibration_starts_a_new_keyframe_from_the_last_pose():
    vo, _ = odometry(forward_right)
    before = [update for update in drive(vo, forward_right, range(15)) if update.pose][-1]
    smaller = replace(INTRINSICS, fx=250.0)
    changed = [
        vo.process(replace(frame(PERIOD * k, forward_right(PERIOD * k)), intrinsics=smaller))
        for k in range(15, 30)
    ]
    assert changed[0].state is TrackingState.INITIALIZING
    assert "calibration changed" in changed[0].reason
    first = next(update for update in changed if update.edge)
    expected = before.pose.pose @ first.edge.base.pose
    np.testing.assert_allclose(first.pose.pose.matrix, expected.matrix, atol=1e-9)


def test_image_of_another_size_is_no_error():
    vo, _ = odometry(forward_right)
    drive(vo, forward_right, range(10))
    image = frame(1.0, forward_right(1.0)).image[:200, :300].copy()
    update = vo.process(Frame(image, replace(INTRINSICS, width=300, height=200), 1.0, "camera_optical"))
    assert update.state is TrackingState.INITIALIZING


def test_frames_sent_again_are_neither_steps_nor_rest():
    """Every third frame is a copy of the one before under a new stamp: the path stays that of the others."""
    vo, _ = odometry(forward_right)
    updates, image = [], frame(0.0, forward_right(0.0)).image
    for index in range(45):
        current = frame(PERIOD * index, forward_right(PERIOD * index))
        if index % 3 == 2:
            current = replace(current, image=image.copy())
        updates.append(vo.process(current))
        image = current.image
    copies, others = updates[2::3], [update for update in updates if not update.repeated]
    assert all(update.repeated and not update.refused for update in copies)
    assert vo.repeated_frames == len(copies) == 15
    assert len(others) == 30
    assert all(update.edge is None and update.pose is None for update in copies)
    copied_stamps = {update.stamp for update in copies}
    edges = [update.edge for update in others if update.edge]
    assert len(edges) > 3
    assert not copied_stamps & {
        stamp for edge in edges for stamp in (edge.previous_stamp, edge.current_stamp)
    }
    assert states(updates[12:]) == {TrackingState.TRACKING}


def test_a_picture_sent_again_and_again_is_no_standstill():
    vo, _ = odometry(forward_right)
    drive(vo, forward_right, range(15))
    last = frame(14 * PERIOD, forward_right(14 * PERIOD)).image
    frozen = [
        vo.process(Frame(last.copy(), INTRINSICS, PERIOD * index, "camera_optical"))
        for index in range(15, 60)
    ]
    assert all(update.repeated and update.pose is None for update in frozen)
    assert states(frozen) == {TrackingState.TRACKING}
    assert vo.process(frame(60 * PERIOD, forward_right(14 * PERIOD + 0.01))).repeated is False

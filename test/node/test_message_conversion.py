"""Messages hold what the odometry found, and never a covariance that a filter would misread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.node import message_conversion
from iup_pose_ros.node.inputs import Unpaired
from iup_pose_ros.node.monitor import FrameCounts
from iup_pose_ros.odometry import KeyframeEdge, TrackingState, Twist
from iup_pose_ros.stamps import StampClock, nanoseconds

STAMP = Time(sec=1_700_000_000, nanosec=123_456_789)
POSE = Pose(so3.exp(np.array([0.1, -0.2, 0.3])), np.array([1.0, -2.0, 3.0]))
COVARIANCE = np.diag([1.0, 2.0, 3.0, 0.1, 0.2, 0.3]) + 0.01
COVARIANCE.setflags(write=False)


def edge():
    known = PoseWithCovariance(POSE, COVARIANCE)
    scalars: dict[str, Any] = {
        "previous_id": np.int64(3),
        "current_id": np.int64(4),
        "sigma_t": np.float32(0.25),
        "inlier_probability": np.float32(0.75),
        "metric": np.bool_(True),
        "inference_time": np.float64(0.125),
    }
    return KeyframeEdge(
        previous_stamp=0.5,
        current_stamp=1.0,
        camera=known,
        base=known,
        sigma_R=np.full(3, 0.01, dtype=np.float32),
        scale_source="fixed",
        estimator="epipolar_klt",
        **scalars,
    )


def twist():
    return Twist(np.array([1.0, 2.0, 3.0], dtype=np.float32), np.array([4.0, 5.0, 6.0]), COVARIANCE)


def sent(message):
    """The message as its receiver sees it."""
    return deserialize_message(serialize_message(message), type(message))


def test_relative_pose_arrives_as_it_was():
    message = sent(message_conversion.relative_pose(edge(), STAMP, "camera_optical"))
    q, t = message.pose.pose.orientation, message.pose.pose.position
    np.testing.assert_array_equal([q.x, q.y, q.z, q.w], POSE.quaternion)
    np.testing.assert_array_equal([t.x, t.y, t.z], POSE.translation)
    np.testing.assert_array_equal(np.reshape(message.pose.covariance, (6, 6)), COVARIANCE)
    assert (message.header.stamp, message.header.frame_id) == (STAMP, "camera_optical")


def test_numpy_scalars_of_an_edge_arrive_as_numbers():
    previous = Time(sec=1, nanosec=2)
    message = sent(
        message_conversion.keyframe_edge(edge(), STAMP, previous, "base_link", TrackingState.TRACKING)
    )
    assert (message.previous_id, message.current_id, message.previous_stamp) == (3, 4, previous)
    assert (message.sigma_direction, message.inference_time, message.metric) == (0.25, 0.125, True)
    assert message.inlier_probability == 0.75
    assert message.tracking_state == TrackingState.TRACKING
    np.testing.assert_allclose(message.sigma_rotation, np.sqrt([0.11, 0.21, 0.31]))


def test_odometry_holds_pose_and_twist_with_their_frames():
    message = sent(
        message_conversion.odometry(PoseWithCovariance(POSE, COVARIANCE), twist(), STAMP, "odom", "base")
    )
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base")
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    assert (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert sent(message_conversion.stamped_twist(twist(), STAMP, "base")).twist == message.twist


def test_tracking_state_holds_the_counts():
    message = sent(
        message_conversion.tracking_state(STAMP, "eye", TrackingState.LOST, "why", FrameCounts(9, 5, 3, 1), 2)
    )
    assert (message.state, message.reason, message.keyframes) == (3, "why", 2)
    drops = (message.frames_dropped_busy, message.frames_dropped_invalid)
    assert (message.frames_received, message.frames_processed, *drops) == (9, 5, 3, 1)


def with_entry(row, column, value):
    covariance = COVARIANCE.copy()
    covariance[row, column] = value
    return covariance


@pytest.mark.parametrize(
    ("covariance", "words"),
    [
        (with_entry(0, 0, np.nan), "not finite"),
        (with_entry(0, 0, np.inf), "not finite"),
        (with_entry(0, 1, 0.5), "not symmetric"),
        (with_entry(0, 0, -1.0), "not positive definite"),
        (np.zeros((6, 6)), "not positive definite"),
    ],
)
def test_covariance_that_a_filter_would_misread_is_refused(covariance, words):
    with pytest.raises(EstimationError, match=words):
        message_conversion.covariance_values(covariance)


@given(st.integers(0, 4_000_000_000), st.integers(-600_000_000_000_000, 600_000_000_000_000))
def test_stamps_come_back_to_the_nanosecond(first, offset):
    clock = StampClock()
    assert clock.seconds(Time(sec=first // 2, nanosec=first % 1_000_000_000)) == 0.0
    total = first // 2 * 1_000_000_000 + first % 1_000_000_000 + offset
    if not 0 <= total < 2**31 * 1_000_000_000:
        return
    stamp = Time(sec=total // 1_000_000_000, nanosec=total % 1_000_000_000)
    assert message_conversion.time_message(clock.nanoseconds(clock.seconds(stamp))) == stamp
    assert nanoseconds(stamp) == total


@given(st.lists(st.booleans(), max_size=60))
def test_every_image_is_paired_given_up_or_still_waiting(is_paired):
    unpaired = Unpaired(limit=3)
    given_up = 0
    for stamp, paired in enumerate(is_paired):
        given_up += unpaired.add(stamp)
        if paired:
            given_up += unpaired.pair(stamp)
    if True in is_paired:
        last = len(is_paired) - 1 - is_paired[::-1].index(True)
        waiting = min(len(is_paired) - 1 - last, 3)
    else:
        waiting = min(len(is_paired), 3)
    assert given_up == len(is_paired) - sum(is_paired) - waiting
    assert unpaired.clear() == waiting


def test_an_image_that_is_paired_after_it_was_given_up_is_counted_once():
    unpaired = Unpaired(limit=2)
    given_up = sum(unpaired.add(stamp) for stamp in range(4))
    assert given_up == 2
    assert given_up + unpaired.pair(1) == 1
    assert unpaired.pair(3) == 1

"""tf2_ros, the stand-in or the real package: transforms by frame and time, and over topics."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    StaticTransformBroadcaster,
    TransformBroadcaster,
    TransformException,
    TransformListener,
)

NEWEST = Time()


def at(seconds):
    return Time(nanoseconds=round(seconds * 1e9))


def make(parent, child, seconds=0.0, translation=(0.0, 0.0, 0.0), rotation=None):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = at(seconds).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, translation)
    q.x, q.y, q.z, q.w = map(float, (rotation or Rotation.identity()).as_quat())
    return message


def matrix_of(message):
    t, q = message.transform.translation, message.transform.rotation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def seconds_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds / 1e9


def x_of(message):
    return message.transform.translation.x


@pytest.fixture
def buffer():
    return Buffer()


def moving(buffer, seconds, parent="odom", child="base", speed=1.0):
    """Samples of a frame that moves along x."""
    for stamp in seconds:
        buffer.set_transform(make(parent, child, stamp, (speed * stamp, 0, 0)), "test")


def test_the_result_maps_the_source_frame_into_the_target_frame(buffer):
    turn = Rotation.from_rotvec([0, 0, np.pi / 2])
    buffer.set_transform_static(make("base", "camera", 0, (1, 2, 3), turn), "test")
    found = buffer.lookup_transform("base", "camera", at(5))
    assert (found.header.frame_id, found.child_frame_id) == ("base", "camera")
    assert seconds_of(found) == 5.0
    np.testing.assert_allclose(matrix_of(found) @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


def test_the_opposite_lookup_is_the_inverse(buffer):
    buffer.set_transform_static(make("a", "b", 0, (1, 2, 3), Rotation.from_rotvec([0.3, -0.2, 0.5])), "test")
    product = matrix_of(buffer.lookup_transform("a", "b", NEWEST)) @ matrix_of(
        buffer.lookup_transform("b", "a", NEWEST)
    )
    np.testing.assert_allclose(product, np.eye(4), atol=1e-12)


def test_lookups_go_up_and_down_the_tree(buffer):
    rotation = Rotation.from_rotvec([0.1, 0.2, 0.3])
    edges = {
        ("map", "odom"): make("map", "odom", 0, (1, 0, 0), rotation),
        ("odom", "base"): make("odom", "base", 0, (0, 2, 0), rotation),
        ("base", "camera"): make("base", "camera", 0, (0, 0, 3), rotation),
        ("odom", "other"): make("odom", "other", 0, (4, 5, 6), rotation.inv()),
    }
    for edge in edges.values():
        buffer.set_transform_static(edge, "test")
    camera = matrix_of(edges["odom", "base"]) @ matrix_of(edges["base", "camera"])
    expected = np.linalg.inv(matrix_of(edges["odom", "other"])) @ camera
    np.testing.assert_allclose(
        matrix_of(buffer.lookup_transform("other", "camera", NEWEST)), expected, atol=1e-9
    )
    from_root = matrix_of(edges["map", "odom"]) @ camera
    np.testing.assert_allclose(
        matrix_of(buffer.lookup_transform("map", "camera", NEWEST)), from_root, atol=1e-9
    )


@given(share=st.floats(0.0, 1.0), angle=st.floats(-3.0, 3.0))
def test_between_samples_translation_is_linear_and_rotation_spherical(share, angle):
    buffer = Buffer()
    ends = Rotation.from_rotvec([[0.1, 0.2, 0.3], [0.1 + angle, 0.2, 0.3]])
    buffer.set_transform(make("a", "b", 10.0, (0, 0, 0), ends[0]), "test")
    buffer.set_transform(make("a", "b", 11.0, (2, 4, 6), ends[1]), "test")
    found = matrix_of(buffer.lookup_transform("a", "b", at(10.0 + share)))
    np.testing.assert_allclose(found[:3, 3], share * np.array([2, 4, 6]), atol=1e-6)
    expected = Slerp([0, 1], ends)(share).as_matrix()
    np.testing.assert_allclose(found[:3, :3], expected, atol=1e-6)


def test_samples_may_arrive_out_of_order(buffer):
    moving(buffer, [1.0, 3.0, 2.0])
    assert x_of(buffer.lookup_transform("odom", "base", at(1.5))) == pytest.approx(1.5)
    assert x_of(buffer.lookup_transform("odom", "base", at(2.5))) == pytest.approx(2.5)


@pytest.mark.parametrize("seconds", [0.9, 3.1])
def test_times_outside_the_samples_are_refused(buffer, seconds):
    moving(buffer, [1.0, 2.0, 3.0])
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(seconds))


def test_a_single_sample_serves_only_its_own_time(buffer):
    moving(buffer, [1.0])
    assert x_of(buffer.lookup_transform("odom", "base", at(1.0))) == pytest.approx(1.0)
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(1.001))


def test_time_zero_means_the_newest_time_that_all_have(buffer):
    moving(buffer, [1.0, 2.0, 3.0], "odom", "base")
    moving(buffer, [1.0, 2.5], "base", "head")
    buffer.set_transform_static(make("head", "camera"), "test")
    found = buffer.lookup_transform("odom", "camera", NEWEST)
    assert seconds_of(found) == 2.5
    assert x_of(found) == pytest.approx(5.0)


def test_static_transforms_hold_for_all_times(buffer):
    buffer.set_transform_static(make("base", "camera", 7.0, (1, 0, 0)), "test")
    for seconds in (0.001, 7.0, 1e6):
        assert x_of(buffer.lookup_transform("base", "camera", at(seconds))) == 1.0


def test_samples_older_than_the_cache_time_are_forgotten():
    buffer = Buffer(cache_time=Duration(seconds=2))
    moving(buffer, [1.0, 2.0, 3.0, 4.0, 4.1])
    assert x_of(buffer.lookup_transform("odom", "base", at(3.5))) == pytest.approx(3.5)
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(1.5))


def test_a_frame_maps_into_itself_by_the_identity(buffer):
    np.testing.assert_array_equal(matrix_of(buffer.lookup_transform("base", "base", at(1))), np.eye(4))


def test_unknown_frames_are_named(buffer):
    moving(buffer, [1.0])
    with pytest.raises(LookupException, match="nowhere"):
        buffer.lookup_transform("nowhere", "base", NEWEST)


def test_frames_without_a_connection_are_told_apart_from_unknown_ones(buffer):
    moving(buffer, [1.0], "odom", "base")
    moving(buffer, [1.0], "world", "tripod")
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform("odom", "tripod", at(1.0))


@pytest.mark.parametrize("name", ["", "/base"])
def test_empty_names_and_leading_slashes_are_refused(buffer, name):
    moving(buffer, [1.0])
    with pytest.raises(InvalidArgumentException):
        buffer.lookup_transform("odom", name, NEWEST)


@pytest.mark.parametrize(
    ("target", "source", "seconds"),
    [("nowhere", "base", 1.0), ("odom", "tripod", 1.0), ("odom", "base", 9.0), ("odom", "", 1.0)],
    ids=["unknown", "not connected", "outside the samples", "no name"],
)
def test_one_exception_type_catches_every_reason_of_a_failed_lookup(buffer, target, source, seconds):
    moving(buffer, [1.0, 2.0], "odom", "base")
    moving(buffer, [1.0], "world", "tripod")
    with pytest.raises(TransformException):
        buffer.lookup_transform(target, source, at(seconds))


def without_rotation():
    message = make("odom", "base", 1.0)
    message.transform.rotation.w = 0.0
    return message


@pytest.mark.parametrize(
    "transform",
    [without_rotation(), make("odom", "base", 1.0, (float("nan"), 0, 0)), make("", "base", 1.0)],
    ids=["zero quaternion", "not a number", "no parent"],
)
def test_invalid_transforms_do_not_enter(buffer, transform):
    buffer.set_transform(transform, "test")
    assert not buffer.can_transform("odom", "base", at(1.0))


def test_a_quaternion_need_not_be_of_unit_length(buffer):
    transform = make("odom", "base", 1.0)
    transform.transform.rotation.w = 0.5
    buffer.set_transform(transform, "test")
    assert buffer.lookup_transform("odom", "base", at(1.0)).transform.rotation.w == pytest.approx(1.0)


def test_can_transform_tells_the_reason_on_request(buffer):
    moving(buffer, [1.0])
    assert buffer.can_transform("odom", "base", at(1.0))
    possible, reason = buffer.can_transform("odom", "camera", at(1.0), return_debug_tuple=True)
    assert not possible
    assert "camera" in reason


def test_a_lookup_waits_for_a_transform_that_another_thread_brings(buffer):
    moving(buffer, [1.0])
    later = threading.Timer(0.2, moving, args=(buffer, [2.0]))
    later.start()
    found = buffer.lookup_transform("odom", "base", at(1.5), timeout=Duration(seconds=20))
    later.join()
    assert x_of(found) == pytest.approx(1.5)


def test_a_lookup_gives_up_after_the_timeout(buffer):
    start = time.monotonic()
    with pytest.raises(LookupException):
        buffer.lookup_transform("odom", "base", at(1.0), timeout=Duration(seconds=0.2))
    assert time.monotonic() - start >= 0.2


def test_clear_forgets_moving_transforms(buffer):
    moving(buffer, [1.0])
    buffer.clear()
    assert not buffer.can_transform("odom", "base", at(1.0))


@pytest.fixture
def node(domain_id):
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("tf2_ros_test")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def test_broadcasts_reach_a_listener_also_when_it_comes_late(node):
    static, dynamic = StaticTransformBroadcaster(node), TransformBroadcaster(node)
    static.sendTransform(make("base", "camera", 0, (0.5, 0, 0)))
    static.sendTransform([make("base", "lidar", 0, (0, 0.5, 0))])
    buffer = Buffer()
    listener = TransformListener(buffer, node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + 20.0
    arrived = False
    while not arrived and time.monotonic() < deadline:
        dynamic.sendTransform(make("odom", "base", 3.0, (3, 0, 0)))
        executor.spin_once(timeout_sec=0.05)
        arrived = all(buffer.can_transform("odom", sensor, at(3.0)) for sensor in ("camera", "lidar"))
    executor.remove_node(node)
    assert x_of(buffer.lookup_transform("odom", "camera", at(3.0))) == pytest.approx(3.5)
    assert buffer.lookup_transform("odom", "lidar", at(3.0)).transform.translation.y == pytest.approx(0.5)
    listener.unregister()


def test_a_listener_with_its_own_thread_needs_no_spinning(node):
    StaticTransformBroadcaster(node).sendTransform(make("base", "camera", 0, (0.5, 0, 0)))
    buffer = Buffer()
    listener = TransformListener(buffer, node, spin_thread=True)
    found = buffer.lookup_transform("base", "camera", at(1.0), timeout=Duration(seconds=20))
    assert x_of(found) == 0.5
    listener.executor.shutdown()
    listener.dedicated_listener_thread.join()

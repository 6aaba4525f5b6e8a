"""message_filters, the stand-in or the real package: messages are combined by equal or by near stamps."""

from __future__ import annotations

import time

import pytest
import rclpy
from geometry_msgs.msg import PointStamped
from hypothesis import given
from hypothesis import strategies as st
from message_filters import ApproximateTimeSynchronizer, SimpleFilter, Subscriber, TimeSynchronizer
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time


def stamped(milliseconds, value=0.0):
    message = PointStamped()
    message.header.stamp = Time(nanoseconds=milliseconds * 1_000_000).to_msg()
    message.point.x = float(value)
    return message


def milliseconds_of(message):
    return Time.from_msg(message.header.stamp).nanoseconds // 1_000_000


def run(make_synchronizer, arrivals, number_of_sources=2):
    """Feeds (source index, stamp [ms]) in order; returns the stamps of every combination that came out."""
    sources = [SimpleFilter() for _ in range(number_of_sources)]
    synchronizer = make_synchronizer(sources)
    combinations = []
    synchronizer.registerCallback(
        lambda *messages: combinations.append(tuple(map(milliseconds_of, messages)))
    )
    for index, milliseconds in arrivals:
        sources[index].signalMessage(stamped(milliseconds))
    return combinations


def exact(sources, queue_size=10):
    return TimeSynchronizer(sources, queue_size)


def near(sources, queue_size=10, slop=0.015):
    return ApproximateTimeSynchronizer(sources, queue_size, slop)


def test_callback_arguments_follow_the_message():
    source, received = SimpleFilter(), []
    source.registerCallback(lambda *arguments: received.append(arguments), "left", 7)
    source.signalMessage("message")
    assert received == [("message", "left", 7)]


def test_every_connected_callback_is_called():
    source, received = SimpleFilter(), []
    source.registerCallback(lambda message: received.append(("first", message)))
    source.registerCallback(lambda message: received.append(("second", message)))
    source.signalMessage(1)
    assert received == [("first", 1), ("second", 1)]


def test_equal_stamps_are_combined_in_the_order_of_the_sources():
    assert run(exact, [(1, 100), (0, 100)]) == [(100, 100)]
    assert run(exact, [(2, 5), (0, 5), (1, 5)], number_of_sources=3) == [(5, 5, 5)]


def test_different_stamps_are_not_combined_by_exact_synchronisation():
    assert run(exact, [(0, 100), (1, 101), (0, 102)]) == []


def test_a_combination_comes_out_once():
    assert run(exact, [(0, 100), (1, 100), (1, 100), (0, 200), (1, 200)]) == [(100, 100), (200, 200)]


def test_late_partners_are_found_while_the_queue_lasts():
    assert run(exact, [(0, 1), (0, 2), (0, 3), (1, 1), (1, 3)]) == [(1, 1), (3, 3)]


def test_the_oldest_message_leaves_a_full_queue():
    waiting = [(0, stamp) for stamp in range(5)]
    assert run(lambda sources: exact(sources, queue_size=3), [*waiting, (1, 1), (1, 2)]) == [(2, 2)]


def test_the_last_message_of_a_stamp_wins():
    sources, received = [SimpleFilter(), SimpleFilter()], []
    synchronizer = TimeSynchronizer(sources, 10)
    synchronizer.registerCallback(lambda first, second: received.append((first.point.x, second.point.x)))
    sources[0].signalMessage(stamped(1, value=1.0))
    sources[0].signalMessage(stamped(1, value=2.0))
    sources[1].signalMessage(stamped(1, value=3.0))
    assert received == [(2.0, 3.0)]


@given(st.permutations([(index, stamp) for index in range(2) for stamp in (10, 20, 30, 40)]))
def test_every_pair_comes_out_whatever_the_order_of_arrival(arrivals):
    assert sorted(run(exact, arrivals)) == [(10, 10), (20, 20), (30, 30), (40, 40)]


def test_near_stamps_are_combined_within_the_slop():
    assert run(near, [(0, 100), (1, 110)]) == [(100, 110)]
    assert run(near, [(0, 100), (1, 120)]) == []


def test_the_nearest_message_is_chosen():
    assert run(near, [(0, 100), (0, 108), (1, 110)]) == [(108, 110)]


def test_three_sources_must_all_lie_within_the_slop():
    assert run(near, [(0, 100), (1, 110), (2, 105)], number_of_sources=3) == [(100, 110, 105)]
    assert run(near, [(0, 100), (1, 114), (2, 86)], number_of_sources=3) == []


def test_a_used_message_is_not_combined_again():
    assert run(near, [(0, 100), (1, 101), (1, 102)]) == [(100, 101)]


@pytest.fixture
def node(domain_id):
    rclpy.init(domain_id=domain_id)
    node = rclpy.create_node("message_filters_test")
    yield node
    node.destroy_node()
    rclpy.shutdown()


def test_subscribers_feed_a_synchronizer_from_topics(node):
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    subscribers = [Subscriber(node, PointStamped, topic, qos_profile=qos) for topic in ("left", "right")]
    received = []
    TimeSynchronizer(subscribers, 10).registerCallback(lambda *pair: received.append(pair))
    publishers = [node.create_publisher(PointStamped, topic, qos) for topic in ("left", "right")]
    deadline = time.monotonic() + 20.0
    while not received and time.monotonic() < deadline:
        for value, publisher in enumerate(publishers):
            publisher.publish(stamped(500, value))
        rclpy.spin_once(node, timeout_sec=0.05)
    assert [message.point.x for message in received[0]] == [0.0, 1.0]
    assert [subscriber.getTopic() for subscriber in subscribers] == ["left", "right"]
    for subscriber in subscribers:
        assert node.destroy_subscription(subscriber.sub)

"""Odometry goes on while the camera is covered, by the motion prior that arrives on a topic."""

from __future__ import annotations

import itertools

import pytest
from child_node import wait_until
from nav_msgs.msg import Odometry
from node_bench import BLACK, CAMERA_FRAME, PERIOD, Drive, set_stamp, stamp_of
from sensor_msgs.msg import Imu

ODOMETRY = "/vo_node/odometry"


def odometry_message(stamp, position):
    """The base, with the axes of the camera, has moved to the right."""
    message = Odometry(child_frame_id="base_link")
    message.header.frame_id = "wheels"
    message.pose.pose.position.x = position
    message.pose.pose.orientation.w = 1.0
    set_stamp(message, stamp)
    return message


def imu_message(stamp, position):
    """A base that does not turn."""
    message = Imu()
    message.header.frame_id = CAMERA_FRAME
    set_stamp(message, stamp)
    return message


@pytest.mark.parametrize(
    ("prior", "topic", "kind", "message"),
    [
        ("odometry", "/wheel_odometry", Odometry, odometry_message),
        ("imu", "/imu", Imu, imu_message),
    ],
    ids=["odometry", "imu"],
)
def test_covered_camera(bench, start_node, prior, topic, kind, message):
    node = start_node(parameters={"assume_identity_mount": True, "motion_prior": prior})
    publisher, drive = bench.node.create_publisher(kind, topic, 50), Drive(bench)
    bench.wait_for_node()
    bench.clear()
    wait_until(publisher.get_subscription_count, 30.0, lambda: f"the node does not listen to {topic}")

    def show(images, pixels=None):
        states = []
        for _ in range(images):
            for share in (0.4, 1.2):
                at = drive.stamp + round(share * PERIOD)
                publisher.publish(message(at, drive.position + share * 0.08))
            states += drive.show(1, pixels)
        return states

    assert show(16)[-1].state == 1
    last = bench.received(ODOMETRY)[-1]
    covered = show(5, BLACK)
    assert [(state.state, state.bridged) for state in covered] == [(3, True)] * 5
    end = bench.wait_for(ODOMETRY, lambda message: stamp_of(message) == stamp_of(covered[-1]))
    # Without lengths the position stays; its deviation grows by what the camera may have moved.
    growth = drive.position / (drive.position - 0.08 * len(covered)) if prior == "odometry" else 1.0
    assert end.pose.pose.position.x == pytest.approx(growth * last.pose.pose.position.x, rel=0.1)
    assert end.pose.covariance[0] > last.pose.covariance[0]
    assert all(stamp_of(twist) <= stamp_of(last) for twist in bench.received("/vo_node/twist"))
    assert [state.bridged for state in show(16)][-1] is False
    edges = bench.received("/vo_node/keyframe_edge")
    assert sum(edge.bridged for edge in edges) <= 1
    assert all(a.current_id == b.previous_id for a, b in itertools.pairwise(edges))
    bench.node.destroy_publisher(publisher)
    assert node.stop() == 0

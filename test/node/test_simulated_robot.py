"""A simulated robot: time from /clock, the mount on /tf and late, lengths from its wheels.

The camera moves 8 cm to the right per image, and the base with it.
"""

from __future__ import annotations

import numpy as np
import pytest
from child_node import wait_until
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from node_bench import CAMERA_FRAME, PERIOD, START, Drive, set_stamp
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.stamps import nanoseconds

# Optical axes on a robot that looks forward.
MOUNT = Pose.from_quaternion(np.array([-0.5, 0.5, -0.5, 0.5]), np.array([0.5, 0.1, 0.3]))
STEP = 0.08
ODOMETRY = "/vo_node/odometry"


@pytest.fixture(scope="module")
def node(start_module_node):
    return start_module_node(
        parameters={
            "use_sim_time": True,
            "scale_source": "odometry",
            "mount_timeout": 0.05,
            "publish_tf": False,
        }
    )


class Robot(Drive):
    """Clock, wheels and camera of the robot."""

    def __init__(self, bench):
        super().__init__(bench)
        self.clock = bench.node.create_publisher(Clock, "/clock", 1)
        self.wheels = bench.node.create_publisher(Odometry, "/wheel_odometry", 50)
        self.tf = bench.node.create_publisher(TFMessage, "/tf", 10)

    def set_clock(self, stamp):
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp, 10**9)
        self.clock.publish(message)

    def roll(self, stamp, position):
        """Wheel odometry of a moment."""
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id = "wheels"
        set_stamp(message, stamp)
        message.pose.pose.position.y = -position
        message.pose.pose.orientation.w = 1.0
        self.wheels.publish(message)

    def mount(self, stamp):
        """The camera's mount at a moment, on /tf."""
        transform = TransformStamped(child_frame_id=CAMERA_FRAME)
        transform.header.frame_id = "base_link"
        set_stamp(transform, stamp)
        q, t = transform.transform.rotation, transform.transform.translation
        q.x, q.y, q.z, q.w = (float(value) for value in MOUNT.quaternion)
        t.x, t.y, t.z = (float(value) for value in MOUNT.translation)
        self.tf.publish(TFMessage(transforms=[transform]))

    def drive(self, images, with_wheels=True):
        """Tracking states of so many images, the wheels a little before and after each."""
        states = []
        for _ in range(images):
            for share in (0.4, 1.2) if with_wheels else ():
                at = self.stamp + round(share * PERIOD)
                self.roll(at, self.position + share * STEP)
            states += self.show(1)
        return states


@pytest.fixture(scope="module")
def robot(bench, node):
    bench.record("/diagnostics", DiagnosticArray)
    bench.wait_for_node()
    robot = Robot(bench)
    wait_until(
        lambda: min(item.get_subscription_count() for item in (robot.clock, robot.wheels, robot.tf)) >= 1,
        30.0,
        lambda: "the node does not listen to clock, wheels and TF",
    )
    # How it begins, for the tests: neither clock nor mount, then the clock, then the mount.
    robot.diagnostics_before_the_clock = bench.wait_for("/diagnostics", lambda message: True)
    robot.set_clock(START)
    bench.wait_for("/diagnostics", lambda message: nanoseconds(message.header.stamp) == START)
    robot.states_without_mount = robot.drive(2)
    robot.odometry_without_mount = bench.received(ODOMETRY)
    robot.mount(robot.stamp - PERIOD)
    robot.mount(robot.stamp + 10**9)

    def has_mount():
        return not robot.drive(1)[-1].reason.startswith("waiting for transform")

    wait_until(has_mount, 20.0, lambda: f"{bench.states()[-1]}")
    return robot


def test_diagnostics_come_while_the_clock_stands(robot):
    assert nanoseconds(robot.diagnostics_before_the_clock.header.stamp) == 0


def test_mount_that_is_missing_is_named_until_it_comes_on_tf(robot):
    for state in robot.states_without_mount:
        assert state.reason.startswith("waiting for transform base_link <- camera_optical")
    assert robot.odometry_without_mount == []


def test_steps_are_metres(bench, robot):
    bench.clear()
    assert robot.drive(16)[-1].state == 1
    edges = bench.received("/vo_node/keyframe_edge")
    assert {(edge.scale_source, edge.metric) for edge in edges} == {("odometry", True)}
    for edge in edges:
        images = (nanoseconds(edge.header.stamp) - nanoseconds(edge.previous_stamp)) / PERIOD
        length = np.linalg.norm([getattr(edge.pose.pose.position, axis) for axis in "xyz"])
        assert length == pytest.approx(STEP * images, rel=0.02)
        sigma = np.sqrt(np.reshape(edge.pose.covariance, (6, 6))[1, 1])
        assert 0.001 < sigma < 0.2 * length
    assert bench.received(ODOMETRY)[-1].pose.pose.position.y < -0.5


def test_frame_age_is_in_the_time_of_the_clock(bench, robot):
    robot.set_clock(robot.stamp + 250_000_000)
    reached = robot.stamp + 250_000_000
    bench.wait_for("/diagnostics", lambda message: nanoseconds(message.header.stamp) == reached)
    shown = robot.drive(1)[-1]
    processed = str(shown.frames_processed)

    def age(message):
        values = {item.key: item.value for item in message.status[0].values}
        return float(values["frame age [s]"]) if values["frames processed"] == processed else None

    message = bench.wait_for("/diagnostics", lambda message: age(message) is not None)
    assert age(message) == pytest.approx(0.2, abs=1e-3)


def test_without_wheels_the_node_is_lost_and_publishes_nothing(bench, robot):
    assert robot.drive(12)[-1].state == 1
    published = len(bench.received(ODOMETRY))
    states = robot.drive(14, with_wheels=False)
    lost = [state for state in states if state.state == state.LOST]
    assert states[-1].state == states[-1].LOST
    assert {("latest wheel odometry is" in state.reason) for state in lost} == {True}
    stamps = {nanoseconds(message.header.stamp) for message in bench.received(ODOMETRY)[published:]}
    assert not stamps & {nanoseconds(state.header.stamp) for state in lost}
    recovered = robot.drive(12)
    assert recovered[-1].state == 1
    assert len(bench.received(ODOMETRY)) > published


def test_a_clock_that_stands_and_then_starts_again(bench, robot):
    assert robot.drive(12)[-1].state == 1  # the clock stood all the time
    for _ in range(2):
        robot.stamp = START
        robot.set_clock(START)
        published = len(bench.received(ODOMETRY))
        assert robot.drive(24)[-1].state == 1, bench.states()[-1].reason
        assert len(bench.received(ODOMETRY)) > published

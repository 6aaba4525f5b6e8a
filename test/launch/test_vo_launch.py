"""vo.launch.py with the real launch, which exists in ROS distributions only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import rclpy
from iup_pose_msgs.msg import TrackingState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile

try:
    import launch_pytest
    from launch import LaunchDescription
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_pytest.actions import ReadyToTest
except ImportError:
    launch_pytest = None

pytestmark = pytest.mark.skipif(
    launch_pytest is None, reason="launch_pytest is not installed: it comes with a ROS distribution only"
)

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "vo.launch.py"
ARGUMENTS = {"namespace": "launched", "image": "/eye/image", "publish_tf": "false", "fixed_step_length": "2"}


@(launch_pytest or pytest).fixture
def description():
    """vo.launch.py with some arguments."""
    source = PythonLaunchDescriptionSource(str(LAUNCH_FILE))
    included = IncludeLaunchDescription(source, launch_arguments=ARGUMENTS.items())
    return LaunchDescription([included, ReadyToTest()])


@pytest.fixture
def listener():
    """A ROS node of the test."""
    context = rclpy.Context()
    rclpy.init(context=context)
    yield rclpy.create_node("listener", context=context)
    rclpy.shutdown(context=context)


@pytest.mark.launch(fixture=description)
def test_node_starts_with_the_arguments(listener):
    heard: list[TrackingState] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.create_subscription(TrackingState, "/launched/vo_node/tracking_state", heard.append, latched)
    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    deadline = time.monotonic() + 30.0
    while not any("/eye/image" in state.reason for state in heard):
        assert time.monotonic() < deadline, heard
        executor.spin_once(timeout_sec=0.1)

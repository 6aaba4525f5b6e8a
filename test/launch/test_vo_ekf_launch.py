"""vo_ekf.launch.py with the real launch and filter, which exist in ROS distributions only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

try:
    import launch_pytest
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    from launch import LaunchDescription
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch_pytest.actions import ReadyToTest
except ImportError:
    launch_pytest = None


def missing() -> str:
    """What this test needs and the machine does not have; empty where nothing."""
    if launch_pytest is None:
        return "launch_pytest"
    try:
        get_package_share_directory("robot_localization")
    except PackageNotFoundError:
        return "robot_localization"
    return ""


pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"{missing()} is not installed: it comes with a ROS distribution only"
)

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "vo_ekf.launch.py"
ARGUMENTS = {"namespace": "fused", "metric": "true", "scale_source": "fixed"}
TWIST, ODOMETRY = "/fused/vo_node/twist", "/fused/odometry/filtered"


@(launch_pytest or pytest).fixture
def description():
    """vo_ekf.launch.py with some arguments."""
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
def test_filter_listens_to_the_twist_and_alone_broadcasts(listener):
    def connected():
        heard = [info.node_name for info in listener.get_subscriptions_info_by_topic(TWIST)]
        return (
            "ekf_node" in heard and listener.count_publishers(TWIST) and listener.count_publishers(ODOMETRY)
        )

    executor = SingleThreadedExecutor(context=listener.context)
    executor.add_node(listener)
    deadline = time.monotonic() + 30.0
    while not connected():
        assert time.monotonic() < deadline, listener.get_topic_names_and_types()
        executor.spin_once(timeout_sec=0.1)
    owners = [info.node_name for info in listener.get_publishers_info_by_topic("/tf")]
    assert "ekf_node" in owners
    assert "vo_node" not in owners

"""Settings of every ROS process that the tests start; set before rclpy and the messages are imported."""

from __future__ import annotations

import os
import random
import shutil
import tempfile

import pytest

ROS_SETTINGS = {
    "ROS_PYTHON_CHECK_FIELDS": "1",  # a wrong type in a message raises instead of being sent as garbage
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_DOMAIN_ID": str(random.SystemRandom().randrange(1, 102)),  # two test runs at once do not meet
}


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(ROS_SETTINGS)
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="iup_pose_ros_log_")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ.pop("ROS_LOG_DIR"), ignore_errors=True)

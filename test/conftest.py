"""Markers of the tests, and settings of every ROS process that they start.

Every test is `unit` or `dds`: a test that uses the fixture ``domain_id``, itself or by another fixture,
talks to other processes over DDS. Tests of more than a few seconds are marked `slow` where they are defined.
"""

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
    # Before rclpy and the messages are imported, which read them then.
    os.environ.update(ROS_SETTINGS)
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="iup_pose_ros_log_")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ.pop("ROS_LOG_DIR"), ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "domain_id" in getattr(item, "fixturenames", ()):
            item.add_marker("dds")
        if item.get_closest_marker("dds") is None:
            item.add_marker("unit")


@pytest.fixture(scope="module")
def domain_id() -> int:
    """A DDS domain of its own per test module; ids above 100 need ports that Linux hands out to others."""
    return random.SystemRandom().randint(1, 100)

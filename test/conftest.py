"""Markers of the tests, and settings of every ROS process that they start.

Every test is `unit` or `dds`: a test that uses the fixture ``domain_id``, itself or by another fixture,
talks to other processes over DDS. Tests of more than a few seconds are marked `slow` where they are defined.

`make test` divides the tests between two processes of pytest-xdist: one runs the tests over DDS one after the
other, the other the unit tests meanwhile, file by file.

`make test ORDER=SEED` runs the files, and the tests of each file, in a random order.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile

import hypothesis
import pytest

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Ids above 100 need ports that Linux hands out to others. Each worker has ids of its own, drawn at
# random, so that two test runs at once do not meet.
DOMAIN_IDS = range(1 + WORKER, 101, WORKERS)
ROS_SETTINGS = {
    "ROS_PYTHON_CHECK_FIELDS": "1",  # a wrong type in a message raises instead of being sent as garbage
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "ROS_DOMAIN_ID": str(random.SystemRandom().choice(DOMAIN_IDS)),
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}


def pytest_configure(config: pytest.Config) -> None:
    # A busy machine must not fail a test of hypothesis.
    hypothesis.settings.register_profile("without deadline", deadline=None)
    hypothesis.settings.load_profile("without deadline")
    # Before rclpy, the messages, PyTorch and OpenCV are imported, which read them then.
    os.environ.update(ROS_SETTINGS if WORKERS == 1 else ROS_SETTINGS | ONE_THREAD)
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="iup_pose_ros_log_")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ.pop("ROS_LOG_DIR"), ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", type=int, metavar="SEED", help="run files and tests in random order")


def put_in_random_order(items: list[pytest.Item], seed: int) -> None:
    """Shuffle the files and the tests of each file, which stay together because they share its fixtures."""
    generator = random.Random(seed)
    generator.shuffle(items)
    place = {path: generator.random() for path in sorted({item.path for item in items})}
    items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--random-order")
    if seed is not None:
        put_in_random_order(items, seed)
    for item in items:
        if "domain_id" in getattr(item, "fixturenames", ()):
            item.add_marker("dds")
        if item.get_closest_marker("dds") is None:
            item.add_marker("unit")
        # One worker gets all tests of a group: those over DDS, and those that share the fixtures of a file.
        item.add_marker(pytest.mark.xdist_group("dds" if item.get_closest_marker("dds") else item.path.stem))


@pytest.hookimpl(tryfirst=True)  # before the report is printed
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # A worker appends the group, which it needs itself; with it a test cannot be named on the command line.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        report.nodeid = re.sub(r"@\w+$", "", report.nodeid)


@pytest.fixture(scope="module")
def domain_id() -> int:
    """A DDS domain of its own per test module."""
    return random.SystemRandom().choice(DOMAIN_IDS)

"""The wait for a node and its recorder, with real publishers and subscriptions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import rclpy
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import Image

from iup_pose_ros.replay.readiness import OUTPUTS, missing

COMMAND = [sys.executable, "-m", "iup_pose_ros.replay.readiness", "--node", "/eye/vo", "--image", "/image"]


@pytest.fixture
def node(domain_id: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))  # for the process that waits
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    yield rclpy.create_node("bystander", context=context)
    rclpy.shutdown(context=context)


def wait(timeout: float) -> subprocess.CompletedProcess[str]:
    # Without the guard the child finds the libraries of the ROS wheels anew.
    environment = {key: value for key, value in os.environ.items() if "ROS_WHEELS" not in key}
    command = [*COMMAND, "--timeout", str(timeout)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_everything_that_is_missing_is_named_until_it_is_there(node: Node) -> None:
    assert missing(node, "/eye/vo", "/image")[0] == "a subscriber of /image"
    assert len(missing(node, "/eye/vo", "/image")) == 1 + 2 * len(OUTPUTS)
    node.create_subscription(Image, "/image", lambda _: None, 1)
    for output in OUTPUTS:
        node.create_publisher(Odometry, f"/eye/vo/{output}", 1)
    deadline = time.monotonic() + 10.0
    while (lacks := missing(node, "/eye/vo", "/image")) != [
        f"a recorder of /eye/vo/{name}" for name in OUTPUTS
    ]:
        assert time.monotonic() < deadline, lacks
        time.sleep(0.05)
    late = wait(timeout=1.0)
    assert late.returncode == 1
    # On a busy machine the publishers, too, may not be found within that second.
    assert late.stderr.startswith("missing after 1 s: a")
    assert "a recorder of /eye/vo/odometry" in late.stderr
    for output in OUTPUTS:
        node.create_subscription(Odometry, f"/eye/vo/{output}", lambda _: None, 1)
    assert wait(timeout=60.0).returncode == 0

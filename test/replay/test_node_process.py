"""The node's process: it ends with the context, and its death is told."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from iup_pose_ros.errors import NodeProcessError
from iup_pose_ros.replay.node_process import NodeProcess, isolated_environment, sigterm_interrupts


def check_until_dead(process: NodeProcess) -> None:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        process.check_running()
        time.sleep(0.1)


def test_environment_keeps_the_domain_of_the_user_and_stays_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "own.xml")
    environment = isolated_environment()
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == "own.xml"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_environment_without_a_domain_gets_one_and_room_for_large_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    environment = isolated_environment()
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    assert "segment_size" in Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).read_text()


@pytest.mark.dds
def test_death_of_the_node_is_told_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with NodeProcess({"estimator": 3}, {}, isolated_environment(), log) as process:
        with pytest.raises(NodeProcessError, match=r"exit code 1; .*\n.*parameter 'estimator'"):
            check_until_dead(process)
        with pytest.raises(NodeProcessError, match="ended with exit code 1"):
            process.stop()


@pytest.mark.dds
def test_process_does_not_outlive_its_context(tmp_path: Path) -> None:
    with NodeProcess({}, {}, isolated_environment(), tmp_path / "log") as process:
        process.check_running()
    with pytest.raises(NodeProcessError, match="ended"):
        process.check_running()


def test_termination_ends_the_parent_in_order() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before

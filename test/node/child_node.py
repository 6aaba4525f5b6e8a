"""A node in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

NODE = ("-m", "iup_pose_ros.node.vo_node")


class NodeProcess:
    """A node in a process of its own.

    Args:
        domain_id: ROS domain.
        log: file that takes its output.
        parameters: values of ROS parameters; the estimator is one that starts at once where none is named.
        command: arguments of the Python interpreter.
    """

    def __init__(
        self,
        domain_id: int,
        log: Path,
        parameters: Mapping[str, Any] | None = None,
        command: Sequence[str] = NODE,
    ) -> None:
        given = {"estimator": "epipolar_klt", **(parameters or {})}
        assignments = [f"{name}:={_as_yaml(value)}" for name, value in given.items()]
        options = [word for assignment in assignments for word in ("-p", assignment)]
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--ros-args", *options],
                env={**os.environ, "ROS_DOMAIN_ID": str(domain_id), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Everything the process wrote so far."""
        return self._log.read_text()

    def wait_for_log(self, text: str, timeout: float = 60.0) -> None:
        """Returns when the process has written a text."""
        wait_until(lambda: text in self.log, timeout, lambda: f"no {text!r} in the log:\n{self.log}")

    def stop(self, number: int = signal.SIGINT, timeout: float = 60.0) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Ends the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def threads(self) -> int:
        """Number of threads now."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def resident_megabytes(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def wait_until(condition: Callable[[], bool], timeout: float, explain: Callable[[], str]) -> None:
    """Returns when the condition holds; fails with an explanation after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

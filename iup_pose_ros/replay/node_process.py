"""The node as a child process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import TracebackType

from iup_pose_ros.errors import NodeProcessError

Parameter = bool | int | float | str

# The ROS wheels re-execute Python with the path of their libraries and set this to do it only once.
_WHEELS_GUARD = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
_STOP_TIMEOUT = 30.0


def isolated_environment() -> dict[str, str]:
    """Return environment variables that keep ROS traffic on this machine and support large images.

    The domain is random unless ROS_DOMAIN_ID is set; a Fast DDS profile of the user's own is kept.
    """
    defaults = {
        # Above 101 the ports of a domain can collide with the ephemeral ports of Linux.
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 101)),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(files(__package__) / "fastdds_large_images.xml"),
    }
    return {**defaults, **os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that no node outlives its parent.

    For the main thread only.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class NodeProcess:
    """``vo_node`` in a child process; a context manager that always ends it.

    Args:
        parameters: ROS parameters by name.
        remaps: topic names by the name that the node uses.
        environment: environment of the process.
        log: file that takes the node's output.
    """

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        remaps: Mapping[str, str],
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        self._command = [sys.executable, "-m", "iup_pose_ros.node.vo_node", "--ros-args"]
        for name, target in remaps.items():
            self._command += ["-r", f"{name}:={target}"]
        for name, value in parameters.items():
            # JSON is YAML, which ROS expects here, with strings that cannot be taken for numbers.
            self._command += ["-p", f"{name}:={json.dumps(value)}"]
        # Without the guard the child sets up the library path itself.
        self._environment = {name: value for name, value in environment.items() if name != _WHEELS_GUARD}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def check_running(self) -> None:
        """Raise NodeProcessError, with the end of the node's output, if the process has ended."""
        if self._process is None:
            raise NodeProcessError("the node has not been started")
        code = self._process.poll()
        if code is not None:
            raise NodeProcessError(
                f"the node ended with exit code {code}; its last output:\n{self.last_output()}"
            )

    @property
    def peak_resident_megabytes(self) -> float:
        """Maximum resident memory of the running node so far."""
        self.check_running()
        assert self._process is not None  # check_running has seen it
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0

    def stop(self) -> None:
        """Interrupt the node (SIGINT, as Ctrl-C does) and wait for its end.

        Raises:
            NodeProcessError: the node had ended before, does not end within 30 s, or its exit code is not 0.
        """
        self.check_running()
        assert self._process is not None  # check_running has seen it
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired as failure:
            raise NodeProcessError(f"the node did not end within {_STOP_TIMEOUT:g} s of SIGINT") from failure
        if code != 0:
            raise NodeProcessError(f"the node ended with exit code {code} on SIGINT:\n{self.last_output()}")

    def last_output(self, lines: int = 15) -> str:
        """Return the last lines of the node's output."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

"""The node, which writes which thread uses the objects of a session, and whether under the session's lock.

One line for each use that differs: CLASS.METHOD THREAD locked|free.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iup_pose_ros.estimators.oom_fallback import OutOfMemoryFallback
from iup_pose_ros.node.debug_output import DebugOutput
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.process import run
from iup_pose_ros.node.session import TrackingSession
from iup_pose_ros.node.stop_request import StopRequest
from iup_pose_ros.odometry import VisualOdometry

OUTPUT = Path(sys.argv[1])
CLASSES = (
    FramePipeline,
    VisualOdometry,
    OutOfMemoryFallback,
    DebugOutput,
    OdometryOutputs,
    ImageInputs,
    TrackingSession,
)
found: set[str] = set()
active: list[TrackingSession] = []


def note(name: str) -> None:
    """Write a use while a session is active, unless it has been written."""
    for session in active:
        state = "locked" if session._lock.locked() else "free"
        line = f"{name} {threading.current_thread().name} {state}"
        if line not in found:
            found.add(line)
            with OUTPUT.open("a") as file:
                file.write(line + "\n")


def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that notes its use."""

    @functools.wraps(function)
    def noted(*arguments: Any, **options: Any) -> Any:
        note(name)
        return function(*arguments, **options)

    return noted


def record(owner: type) -> None:
    """Note the use of the public methods and properties of a class."""
    for name, member in list(vars(owner).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            setattr(owner, name, property(recorded(f"{owner.__name__}.{name}", member.__get__)))
        elif callable(member):
            setattr(owner, name, recorded(f"{owner.__name__}.{name}", member))


def record_sessions() -> None:
    """Note uses from the end of a session's construction until it is closed."""
    begin, close = TrackingSession.__init__, TrackingSession.close

    def begin_and_record(self: TrackingSession, *arguments: Any) -> None:
        begin(self, *arguments)
        active.append(self)

    def close_unrecorded(self: TrackingSession) -> None:
        active.clear()
        close(self)

    vars_of = {"__init__": begin_and_record, "close": close_unrecorded}
    for name, function in vars_of.items():
        setattr(TrackingSession, name, function)


if __name__ == "__main__":
    for owner in CLASSES:
        record(owner)
    record_sessions()
    sys.exit(run(VoNode, StopRequest()))

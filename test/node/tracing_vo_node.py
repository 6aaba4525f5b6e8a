"""The node, which writes the modules that every image passes from its arrival to TF, one line per image."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import iup_pose_ros
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.process import run
from iup_pose_ros.node.session import TrackingSession
from iup_pose_ros.node.stop_request import StopRequest

PACKAGE = Path(iup_pose_ros.__file__).parent
OUTPUT = Path(sys.argv[1])
modules: set[str] = set()


def note(frame: FrameType, event: str, _: Any) -> None:
    """Record the module of a called function, for sys.setprofile."""
    file = Path(frame.f_code.co_filename)
    if event == "call" and frame.f_code.co_name != "<module>" and file.is_relative_to(PACKAGE):
        modules.add(str(file.relative_to(PACKAGE)))


def trace(owner: type, name: str, finish: Callable[[], object] = lambda: None) -> None:
    """Record the modules of all functions that a method calls, then call ``finish``."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def traced(*arguments: Any) -> Any:
        sys.setprofile(note)
        try:
            return method(*arguments)
        finally:
            sys.setprofile(None)
            finish()

    setattr(owner, name, traced)


def write() -> None:
    """Write the modules of the image that has just been processed."""
    with OUTPUT.open("a") as file:
        file.write(" ".join(sorted(modules)) + "\n")
    modules.clear()


if __name__ == "__main__":
    for method in ("_on_image", "_on_info", "_pass_on"):
        trace(ImageInputs, method)
    trace(TrackingSession, "_process", write)
    sys.exit(run(VoNode, StopRequest()))

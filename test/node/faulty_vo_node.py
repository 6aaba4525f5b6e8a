"""The node with faults in its own code: whatever the file named by the first argument says raises once.

python faulty_vo_node.py FILE --ros-args ...
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from iup_pose_ros.estimators.epipolar.epipolar_estimator import EpipolarEstimator
from iup_pose_ros.node.diagnostics import DiagnosticsPublisher
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.process import run
from iup_pose_ros.node.reporting import TrackingReporter
from iup_pose_ros.node.session import TrackingSession
from iup_pose_ros.node.stop_request import StopRequest
from iup_pose_ros.node.tf_conflict import TransformOwnerWatch

# Place of the fault -> the method that raises.
PLACES: dict[str, tuple[type[Any], str]] = {
    "estimator": (EpipolarEstimator, "estimate"),
    "worker": (TrackingSession, "_finish"),
    "publishers": (OdometryOutputs, "publish"),
    "tracking state": (TrackingReporter, "report"),
    "image callback": (ImageInputs, "_on_image"),
    "camera_info callback": (ImageInputs, "_on_info"),
    "transform callback": (TransformOwnerWatch, "_on_transforms"),
    "timer": (TrackingSession, "_watch"),
    "diagnostics": (DiagnosticsPublisher, "_publish"),
    "service": (VoNode, "reset"),
    "parameters": (VoNode, "_change"),
}


def make_faulty(place: str, orders: Path) -> None:
    """Have the method raise once each time the file holds the name of its place."""
    owner, name = PLACES[place]
    original = getattr(owner, name)

    @functools.wraps(original)  # rclpy looks at the signature of a callback
    def method(*arguments: Any, **options: Any) -> Any:
        if orders.read_text() == place:
            orders.write_text("")
            raise RuntimeError(f"fault in {place}")
        return original(*arguments, **options)

    setattr(owner, name, method)


if __name__ == "__main__":
    for each in PLACES:
        make_faulty(each, Path(sys.argv[1]))
    sys.exit(run(VoNode, StopRequest()))

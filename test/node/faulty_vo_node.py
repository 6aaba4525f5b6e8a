"""The node with faults in its own code, ordered by the file that the first argument names.

The file holds `raise in PLACE`, obeyed once, or `wait in PLACE`, obeyed every time for a minute.
"""

from __future__ import annotations

import functools
import sys
import time
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

# Place of the fault -> the method that obeys.
PLACES: dict[str, tuple[type[Any], str]] = {
    "configure": (VoNode, "_configure"),
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
    """Have the method at a place obey the file."""
    owner, name = PLACES[place]
    original = getattr(owner, name)

    @functools.wraps(original)  # rclpy looks at the signature of a callback
    def method(*arguments: Any, **options: Any) -> Any:
        order = orders.read_text()
        if order == f"raise in {place}":
            orders.write_text("")
            raise RuntimeError(f"fault in {place}")
        if order == f"wait in {place}":
            print(order, flush=True)
            time.sleep(60.0)
        return original(*arguments, **options)

    setattr(owner, name, method)


if __name__ == "__main__":
    for each in PLACES:
        make_faulty(each, Path(sys.argv[1]))
    sys.exit(run(VoNode, StopRequest()))

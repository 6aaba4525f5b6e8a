"""The node, slowed to a tenth of a second more per image."""

from __future__ import annotations

import sys
import time
from typing import Any

from iup_pose_ros import frame_builder
from iup_pose_ros.images import decode_image
from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.process import run
from iup_pose_ros.node.stop_request import StopRequest


def decode_slowly(*arguments: Any) -> Any:
    """decode_image, after a pause."""
    time.sleep(0.1)
    return decode_image(*arguments)


if __name__ == "__main__":
    vars(frame_builder)["decode_image"] = decode_slowly
    sys.exit(run(VoNode, StopRequest()))

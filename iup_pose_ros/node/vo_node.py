"""The executable `vo_node`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from iup_pose_ros.node.stop_request import StopRequest


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit code of the process: 0 when stopped by SIGINT or SIGTERM."""
    stop = StopRequest()
    # Imported late: ROS and OpenCV take a second, in which a signal must already end the process in order.
    from iup_pose_ros.node.managed_node import VoNode
    from iup_pose_ros.node.process import run

    return run(VoNode, stop, args)


if __name__ == "__main__":
    sys.exit(main())

"""The executable `vo_node`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from iup_pose_ros.blas import use_one_blas_thread
from iup_pose_ros.node.stop_request import StopRequest

_HELP = """\
Visual odometry as a managed (lifecycle) node, configured by ROS parameters and remappings. Examples:

  ros2 run iup_pose_ros vo_node --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info \\
      --params-file config/vo.yaml -p estimator:=hybrid
  ros2 param describe /vo_node estimator
  ros2 launch iup_pose_ros vo.launch.py --show-args
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; return the exit code of the process: 0 when stopped by SIGINT or SIGTERM."""
    stop = StopRequest()
    use_one_blas_thread()
    parser = argparse.ArgumentParser(
        "vo_node", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(own_arguments(sys.argv[1:] if args is None else args[1:]))
    # Imported here because ROS and OpenCV take a second, during which a signal must already exit cleanly.
    from iup_pose_ros.node.lifecycle_node import VoNode
    from iup_pose_ros.node.process import run

    return run(VoNode, stop, args)


def own_arguments(args: Sequence[str]) -> list[str]:
    """Return the arguments that are not for ROS, that is not between ``--ros-args`` and ``--``."""
    own: list[str] = []
    of_ros = False
    for argument in args:
        if argument == "--ros-args":
            of_ros = True
        elif not of_ros:
            own.append(argument)
        of_ros = of_ros and argument != "--"
    return own


if __name__ == "__main__":
    sys.exit(main())

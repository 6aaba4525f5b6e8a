"""Wait until a node and its recorder are ready; replay.launch.py then plays the recording.

python3 -m iup_pose_ros.replay.readiness --node /vo_node --image /camera/image
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import rclpy
from rclpy.node import Node

OUTPUTS = ("odometry", "keyframe_edge", "tracking_state")
_PERIOD = 0.1


def missing(node: Node, vo_node: str, image: str) -> list[str]:
    """Return the missing endpoints: subscriber of the images, publishers and recorders of the outputs."""
    lacks = [] if node.count_subscribers(image) else [f"a subscriber of {image}"]
    for output in OUTPUTS:
        topic = f"{vo_node}/{output}"
        lacks += [] if node.count_publishers(topic) else [f"a publisher of {topic}"]
        lacks += [] if node.count_subscribers(topic) else [f"a recorder of {topic}"]
    return lacks


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0 as soon as nothing is missing, 1 with a message after the timeout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", default="/vo_node", help="full name of the visual odometry's node")
    parser.add_argument("--image", required=True, help="topic of the images")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
    given = parser.parse_args(arguments)
    deadline = time.monotonic() + given.timeout
    rclpy.init(args=[])
    try:
        node = rclpy.create_node("replay_readiness", start_parameter_services=False)
        while lacks := missing(node, given.node, given.image):
            if time.monotonic() > deadline:
                print(f"missing after {given.timeout:g} s: {', '.join(lacks)}", file=sys.stderr)
                return 1
            time.sleep(_PERIOD)
    finally:
        rclpy.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

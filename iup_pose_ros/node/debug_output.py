"""~/debug_image: what the odometry sees, drawn only while someone looks."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from iup_pose_ros.node.debug_image import draw_debug_image
from iup_pose_ros.node.pipeline import View
from iup_pose_ros.node.reporting import Report
from iup_pose_ros.odometry import KeyframeEdge


class DebugOutput:
    """Publisher of ~/debug_image (rgb8)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(Image, "~/debug_image", 1)

    @property
    def is_watched(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._publisher.get_subscription_count() > 0)

    def publish(self, view: View, header: Any, report: Report, edge: KeyframeEdge | None) -> None:
        """Publishes the view with the state of its image, and the last step's deviations."""
        matches = view.matches
        lines = [report.reason] if report.reason else []
        lines.append(f"{report.keyframes} keyframes, {0 if matches is None else len(matches)} tracks")
        if edge is not None:
            lines.append(_described(edge))
        picture = draw_debug_image(view.image, matches, report.state.name, lines, view.attention)
        height, width = picture.shape[:2]
        self._publisher.publish(
            Image(
                header=header,
                height=height,
                width=width,
                encoding="rgb8",
                step=3 * width,
                data=picture.tobytes(),
            )
        )

    def close(self) -> None:
        """Removes the publisher."""
        self._node.destroy_publisher(self._publisher)


def _described(edge: KeyframeEdge) -> str:
    """The last step in a line."""
    turn = " ".join(f"{sigma:.2f}" for sigma in np.degrees(edge.sigma_R))
    return (
        f"{edge.estimator} {1e3 * edge.inference_time:.0f} ms, sigma R {turn} deg, "
        f"direction {np.degrees(edge.sigma_t):.1f} deg"
    )

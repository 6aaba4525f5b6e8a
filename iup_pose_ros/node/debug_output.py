"""Publisher of ~/debug_image, drawn only while somebody subscribes."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from iup_pose_ros.node.debug_image import draw_debug_image
from iup_pose_ros.node.pipeline import ProcessedFrame
from iup_pose_ros.node.reporting import Report
from iup_pose_ros.odometry import KeyframeEdge


class DebugOutput:
    """Publisher of ~/debug_image (rgb8)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(Image, "~/debug_image", 1)
        self.forget()

    def forget(self) -> None:
        """Forget the last image and step after a reset to the origin."""
        self._last: ProcessedFrame | None = None
        self._last_edge: KeyframeEdge | None = None

    def publish(self, processed: ProcessedFrame | None, header: Any, report: Report) -> None:
        """Publish an image with its tracks, its state and the standard deviations of the last step.

        Draws only while somebody subscribes. If an image could not be processed (None), the report is drawn
        on the last image.
        """
        self._last = processed or self._last
        if processed is not None:
            self._last_edge = processed.update.edge or self._last_edge
        if self._last is None or self._publisher.get_subscription_count() == 0:
            return
        image, matches, edge = self._last.image, self._last.matches, self._last.update.edge
        lines = [report.reason] if report.reason else []
        lines.append(f"{report.keyframes} keyframes, {0 if matches is None else len(matches)} tracks")
        if self._last_edge is not None:
            last = self._last_edge
            rotation = " ".join(f"{sigma:.2f}" for sigma in np.degrees(last.sigma_R))
            lines.append(
                f"{last.estimator} {1e3 * last.inference_time:.0f} ms, sigma R {rotation} deg, "
                f"direction {np.degrees(last.sigma_t):.1f} deg"
            )
        attention = None if edge is None else edge.attention
        mask = self._last.mask
        picture = draw_debug_image(image, matches, report.state.name, lines, attention, mask)
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
        """Remove the publisher."""
        self._node.destroy_publisher(self._publisher)

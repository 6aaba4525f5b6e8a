"""~/tracking_state and the log: how the tracker stands and why."""

from __future__ import annotations

import enum
import re
import threading
import time
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from iup_pose_msgs.msg import TrackingState as TrackingStateMessage
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from iup_pose_ros.node import message_conversion
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.odometry import TrackingState

# Deeper than one: a reliable publisher that keeps one sample loses states that come in quick succession.
_DEPTH = 10
_LOG_PERIOD = 5.0


class Severity(enum.IntEnum):
    """How bad a report is beside its state."""

    NONE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Report:
    """How the tracker stands.

    Attributes:
        state: the tracking state.
        reason: why, one sentence; empty while TRACKING.
        severity: whether something is wrong with the inputs or the node, not with the scene.
        keyframes: number of keyframes so far.
    """

    state: TrackingState
    reason: str
    severity: Severity = Severity.NONE
    keyframes: int = 0


class TrackingReporter:
    """Publishes every report and logs, without flooding, those that are news.

    Latched, so that a late subscriber learns the state. Several threads may report.

    Args:
        node: owner of the publisher.
        monitor: counts the images.
    """

    def __init__(self, node: Node, monitor: Monitor) -> None:
        self._monitor = monitor
        qos = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(TrackingStateMessage, "~/tracking_state", qos)
        self._logger = node.get_logger()
        self._lock = threading.Lock()
        self._last = Report(TrackingState.INITIALIZING, "")
        self._camera_frame = ""
        self._logged: dict[tuple[TrackingState, str], float] = {}

    @property
    def last(self) -> Report:
        """The last report."""
        return self._last

    @property
    def camera_frame(self) -> str:
        """Frame of the last image, empty before the first."""
        return self._camera_frame

    def report(self, report: Report, stamp: Time, camera_frame: str = "") -> None:
        """Publishes how the tracker stands after the image of this stamp."""
        message = message_conversion.tracking_state(
            stamp, camera_frame, report.state, report.reason, self._monitor.counts, report.keyframes
        )
        with self._lock:
            if self._is_news(report):
                self._log(report)
            self._last = report
            self._camera_frame = camera_frame or self._camera_frame
            self._publisher.publish(message)

    def _is_news(self, report: Report) -> bool:
        """Whether the state changed or a fault lasts, and the like was not logged a moment ago."""
        is_fault = report.severity is not Severity.NONE
        if not is_fault and report.state == self._last.state:
            return False
        now = time.monotonic()
        self._logged = {kind: at for kind, at in self._logged.items() if now - at < _LOG_PERIOD}
        # Numbers tell faults of one kind apart; they must not defeat the throttle.
        kind = (report.state, re.sub(r"\d", "", report.reason) if is_fault else "")
        if kind in self._logged:
            return False
        self._logged[kind] = now
        return True

    def _log(self, report: Report) -> None:
        text = f"{report.state.name}: {report.reason}" if report.reason else report.state.name
        if report.severity is Severity.ERROR:
            self._logger.error(text)
        elif report.severity is Severity.WARNING or report.state == TrackingState.LOST:
            self._logger.warning(text)
        else:
            self._logger.info(text)

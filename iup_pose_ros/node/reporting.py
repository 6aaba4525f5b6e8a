"""Publication and logging of the tracking state and its reason."""

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

# With a depth of one a reliable publisher loses states that follow each other quickly.
_DEPTH = 10
_LOG_PERIOD = 5.0


class Severity(enum.IntEnum):
    """Severity of a report, independent of its tracking state."""

    NONE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Report:
    """Tracking state with its reason.

    Attributes:
        state: the tracking state.
        reason: one sentence; empty while TRACKING.
        severity: whether the inputs or the node, not the scene, are faulty.
        keyframes: number of keyframes so far.
        bridged: while LOST, odometry continues from the motion prior.
    """

    state: TrackingState
    reason: str
    severity: Severity = Severity.NONE
    keyframes: int = 0
    bridged: bool = False


class TrackingReporter:
    """Publishes every report and logs changes of state and lasting faults, throttled.

    The topic is latched, so that a late subscriber receives the state. Thread-safe.

    Args:
        node: owner of the publisher.
        monitor: image counters.
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
        """Publish the tracking state after the image of this stamp."""
        message = message_conversion.tracking_state(
            stamp,
            camera_frame,
            report.state,
            report.reason,
            self._monitor.counts,
            report.keyframes,
            report.bridged,
        )
        with self._lock:
            if self._should_log(report):
                text = f"{report.state.name}: {report.reason}" if report.reason else report.state.name
                if report.severity is Severity.ERROR:
                    self._logger.error(text)
                elif report.severity is Severity.WARNING or report.state == TrackingState.LOST:
                    self._logger.warning(text)
                else:
                    self._logger.info(text)
            self._last = report
            self._camera_frame = camera_frame or self._camera_frame
            self._publisher.publish(message)

    def _should_log(self, report: Report) -> bool:
        """Return whether the state changed or a fault lasts, and no similar report was logged recently."""
        is_fault = report.severity is not Severity.NONE
        if not is_fault and report.state == self._last.state:
            return False
        now = time.monotonic()
        self._logged = {kind: at for kind, at in self._logged.items() if now - at < _LOG_PERIOD}
        # Reasons that differ only in their numbers count as the same for the throttle.
        kind = (report.state, re.sub(r"\d", "", report.reason) if is_fault else "")
        if kind in self._logged:
            return False
        self._logged[kind] = now
        return True

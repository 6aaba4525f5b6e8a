"""/diagnostics, published once per second in every lifecycle state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.node.monitor import Figures, resident_megabytes
from iup_pose_ros.node.reporting import Report, Severity
from iup_pose_ros.odometry import TrackingState

_PERIOD = 1.0


@dataclass(frozen=True)
class Status:
    """Content of the diagnostics.

    Attributes:
        life_cycle: lifecycle state.
        report: tracking state and reason.
        warnings: further warnings, one sentence each.
        figures: counters, rates and latencies.
        estimator: relative pose estimator; None while there is none.
        device_megabytes: memory of the accelerator in use; ``nan`` without one.
        camera_frame: frame of the last image.
        input_timeout: seconds without images after which to warn; infinite while no images are expected.
    """

    life_cycle: str
    report: Report
    warnings: Sequence[str]
    figures: Figures
    estimator: EstimatorInfo | None
    device_megabytes: float
    camera_frame: str
    input_timeout: float


class DiagnosticsPublisher:
    """Publishes on /diagnostics by a steady clock, as the time of a bag or simulator may stop.

    Args:
        node: owner of publisher and timer.
        status: returns the content.
    """

    def __init__(self, node: Node, status: Callable[[], Status]) -> None:
        self._node = node
        self._status = status
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(_PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        status = self._status()
        level, message = judgement(status)
        entry = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: visual odometry",
            message=message,
            hardware_id=status.camera_frame,
            values=[KeyValue(key=key, value=value) for key, value in values(status).items()],
        )
        message = DiagnosticArray(status=[entry])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def judgement(status: Status) -> tuple[bytes, str]:
    """Return level and message: OK while motion is measured, ERROR while it should be but is not."""
    report = status.report
    text = f"{report.state.name}: {report.reason}" if report.reason else report.state.name
    if status.figures.fault:
        return DiagnosticStatus.ERROR, "; ".join(part for part in (status.figures.fault, text) if part)
    silence = status.figures.silence
    if status.life_cycle != "active":
        failed = report.severity is Severity.ERROR
        return (DiagnosticStatus.ERROR if failed else DiagnosticStatus.WARN), report.reason
    if report.severity is Severity.ERROR or report.state == TrackingState.LOST:
        return DiagnosticStatus.ERROR, text
    if silence > status.input_timeout:
        return DiagnosticStatus.WARN, f"no image for {silence:.1f} s; {text}"
    if report.state == TrackingState.INITIALIZING or report.severity is Severity.WARNING:
        return DiagnosticStatus.WARN, text
    if status.warnings:
        return DiagnosticStatus.WARN, "; ".join([text, *status.warnings])
    return DiagnosticStatus.OK, text


def values(status: Status) -> Mapping[str, str]:
    """Return the values by name, as text."""
    figures, counts = status.figures, status.figures.counts
    estimator = status.estimator or EstimatorInfo("none", "")
    return {
        "life cycle": status.life_cycle,
        "tracking state": status.report.state.name,
        "reason": status.report.reason,
        "warnings": "; ".join(status.warnings),
        "image rate [Hz]": _number(figures.image_rate, 1),
        "odometry rate [Hz]": _number(figures.odometry_rate, 1),
        "frame age [s]": _number(figures.frame_age, 3),
        "seconds since last image": _number(figures.silence, 1),
        "inference p50 [ms]": _number(1e3 * figures.inference_p50, 1),
        "inference p99 [ms]": _number(1e3 * figures.inference_p99, 1),
        "frames received": str(counts.received),
        "frames processed": str(counts.processed),
        "frames dropped: worker busy": str(counts.dropped_busy),
        "frames dropped: invalid": str(counts.dropped_invalid),
        "image masked [%]": _number(100.0 * figures.masked_share, 1),
        "unexpected errors": str(figures.faults),
        "keyframes": str(status.report.keyframes),
        "estimator": estimator.name,
        "device": estimator.device,
        "precision": estimator.precision,
        "image area [pixels]": str(estimator.image_area) if estimator.image_area else "",
        "weights": estimator.weights,
        "weights sha256": estimator.sha256,
        "memory [MB]": _number(resident_megabytes(), 0),
        "device memory [MB]": _number(status.device_megabytes, 0),
    }


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"

"""Processing while the node is active: images in, odometry out, detection of missing inputs."""

from __future__ import annotations

import re
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.node.debug_output import DebugOutput
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.latest_frame_worker import LatestFrameWorker
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.pipeline import FramePipeline, ProcessedFrame
from iup_pose_ros.node.reporting import Report, Severity, TrackingReporter
from iup_pose_ros.node.sensor_inputs import ImuInput, MaskInput, SceneInput, WheelOdometry
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.odometry import OdometryUpdate, TrackingState
from iup_pose_ros.odometry.sensor_histories import SensorHistories
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds

PAUSED = "paused; call ~/pause with data: false to resume"
_CHECKS_PER_TIMEOUT = 4
_FOLLOW_PERIOD = 0.1


@dataclass(frozen=True)
class SessionComponents:
    """The objects of a session that exist from configure to cleanup.

    Attributes:
        pipeline: image to odometry.
        outputs: publishers of the odometry.
        debug: publisher of the debug image.
        reporter: publisher of the tracking state.
        monitor: image counters and statistics.
        sensors: measurements beside the images.
    """

    pipeline: FramePipeline
    outputs: OdometryOutputs
    debug: DebugOutput
    reporter: TrackingReporter
    monitor: Monitor
    sensors: SensorHistories


class TrackingSession:
    """Track from the origin, from construction until ``close``.

    Subscriptions, timers and services run in the executor's thread; only ``_process`` runs in the worker's.

    Args:
        node: the node, for subscriptions, timers and log.
        config: settings.
        components: objects that outlive the session.
        paused: whether to start without image subscriptions.
    """

    def __init__(self, node: Node, config: NodeConfig, components: SessionComponents, paused: bool) -> None:
        self._node = node
        self._config = config
        self._components = components
        self._had_fault = False
        self._changed_at = time.monotonic()
        self._warned: set[str] = set()
        self._header: Any = None
        # Serialises publishing in the worker with resets and parameter changes in the executor's thread.
        self._lock = threading.Lock()
        self._is_reset_due = False
        self._new_config: NodeConfig | None = None
        components.pipeline.reset()
        components.outputs.forget()
        components.debug.forget()
        monitor = components.monitor
        self._worker: LatestFrameWorker[tuple[Any, Any]] = LatestFrameWorker(
            self._process, lambda: monitor.count(dropped_busy=1), self._fault
        )
        self._masks = MaskInput(node, config)
        self._inputs = None if paused else self._listen()
        sensors = components.sensors
        wheels, gyro, scene = sensors.wheels, sensors.gyro, sensors.scene
        self._wheels = None if wheels is None else WheelOdometry(node, config.base_frame, wheels)
        self._imu = None if gyro is None else ImuInput(node, gyro)
        self._scene = None if scene is None else SceneInput(node, config, scene)
        # A steady clock, because the time of a bag or simulator stops exactly when inputs are missing.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(config.input_timeout / _CHECKS_PER_TIMEOUT, self._watch, clock=self._steady),
            node.create_timer(_FOLLOW_PERIOD, self._follow, clock=self._steady),
        ]
        self._say(PAUSED if paused else "waiting for images")

    def close(self) -> None:
        """End subscriptions and worker; wait for the current image."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._end_inputs()
        self._masks.close()
        if self._wheels is not None:
            self._wheels.close()
        if self._imu is not None:
            self._imu.close()
        if self._scene is not None:
            self._scene.close()
        self._worker.stop()
        self._components.monitor.reset_counts()

    def reset(self) -> None:
        """Reset to the origin. The result of the current image is not published."""
        with self._lock:
            self._is_reset_due = True
            self._components.outputs.forget()
            self._say("reset to the origin" if self._inputs else f"reset to the origin; {PAUSED}")

    def pause(self) -> None:
        """Stop receiving images; the result of the current one may still be published."""
        if self._inputs is None:
            return
        self._end_inputs()
        self._worker.clear()
        with self._lock:
            self._report(self._unmeasured(PAUSED, Severity.NONE), self._header)

    def resume(self) -> None:
        """Receive images again."""
        if self._inputs is None:
            self._inputs = self._listen()
            with self._lock:
                waiting = self._unmeasured("waiting for images after a pause", Severity.NONE)
                self._report(waiting, self._header)

    @property
    def warnings(self) -> list[str]:
        """Warnings about the inputs, one sentence each."""
        inputs = self._inputs
        with self._lock:  # under which the worker resets the pipeline
            warnings = [*self._components.pipeline.warnings, self._masks.warning]
        return [text for text in [*warnings, *([] if inputs is None else inputs.warnings)] if text]

    def change(self, config: NodeConfig) -> None:
        """Apply changed run-time parameters."""
        with self._lock:
            self._config = self._new_config = config
            self._components.outputs.change(config)
        if self._inputs is not None:
            self._inputs.timeout = config.input_timeout
        self._node.destroy_timer(self._timers[0])
        period = config.input_timeout / _CHECKS_PER_TIMEOUT
        self._timers[0] = self._node.create_timer(period, self._watch, clock=self._steady)

    def _listen(self) -> ImageInputs:
        return ImageInputs(
            self._node, self._config, self._components.monitor, lambda *pair: self._worker.put(pair)
        )

    def _end_inputs(self) -> None:
        """Unsubscribe from image and camera_info, if subscribed."""
        if self._inputs is not None:
            self._header = self._inputs.last_header or self._header
            self._inputs.close()
            self._inputs = None

    def _process(self, pair: tuple[Any, Any]) -> None:
        """Process one image and its camera_info; every error is caught and reported."""
        image, info = pair
        processed: ProcessedFrame | None = None
        try:
            self._apply_requests()
            mask = self._masks.find(image.header.stamp)
            processed = self._components.pipeline.process(image, info, mask)
            self._components.monitor.on_mask(processed.masked_share)
            report = self._publish(processed.update, image.header)
        except IupPoseError as error:
            report = self._unmeasured(str(error), Severity.ERROR)
        except Exception as error:  # noqa: BLE001 - the node outlives every image
            report = self._unmeasured(self._fault(error), Severity.ERROR)
        is_used = processed is not None and not processed.update.repeated
        if self._finish(report, image.header, is_used and report.severity is not Severity.ERROR):
            try:
                self._components.debug.publish(processed, image.header, report)
            except Exception as error:  # noqa: BLE001 - a debug image must not end the odometry
                self._fault(error)

    def _fault(self, error: Exception) -> str:
        """Log and count an unexpected error in the worker's thread; return its description."""
        text = f"unexpected {type(error).__name__}: {error}"
        self._components.monitor.on_fault(text)
        self._node.get_logger().debug("".join(traceback.format_exception(error)))
        self._node.get_logger().error(text, throttle_duration_sec=5.0)
        return text

    def _apply_requests(self) -> None:
        """Apply a reset or parameter change requested since the last image, in the worker's thread."""
        with self._lock:
            if self._is_reset_due:
                self._components.pipeline.reset()
                self._components.debug.forget()
                self._is_reset_due = False
            if self._new_config is not None:
                self._components.pipeline.change(self._new_config)
                self._new_config = None

    def _publish(self, update: OdometryUpdate, header: Any) -> Report:
        """Publish an update unless a reset is pending; return the report on it."""
        components = self._components
        with self._lock:
            if not self._is_reset_due:
                components.outputs.publish(update, header.stamp, components.pipeline.clock)
        if update.edge is not None:
            components.monitor.on_estimate(update.edge.inference_time)
        now = time.monotonic()
        self._changed_at = self._changed_at if update.repeated else now
        if update.repeated and now - self._changed_at >= self._config.input_timeout:
            return self._unmeasured(
                f"images arrive, but their pixels have not changed for {now - self._changed_at:.1f} s: the "
                "camera or its driver repeats the last image",
                Severity.ERROR,
            )
        severity = Severity.NONE
        if update.refused:
            severity = Severity.ERROR
        elif update.state is TrackingState.TRACKING and update.reason:
            severity = Severity.WARNING
        return Report(update.state, update.reason, severity, components.pipeline.keyframes, update.bridged)

    def _finish(self, report: Report, header: Any, is_used: bool) -> bool:
        """Count a processed image and report on it; return False if a reset is pending."""
        monitor = self._components.monitor
        with self._lock:
            if self._is_reset_due:
                monitor.count(processed=1)
                return False
            monitor.count(processed=int(is_used), dropped_invalid=int(not is_used))
            if self._inputs is not None:
                self._report(report, header)
        now = self._node.get_clock().now().nanoseconds
        monitor.on_result((now - nanoseconds(header.stamp)) / NANOSECONDS)
        return True

    def _unmeasured(self, reason: str, severity: Severity) -> Report:
        """Return a report without a measured pose: INITIALIZING before the first pose, LOST afterwards."""
        components = self._components
        started = components.reporter.last.state != TrackingState.INITIALIZING
        state = TrackingState.LOST if started else TrackingState.INITIALIZING
        return Report(state, reason, severity, components.pipeline.keyframes)

    def _follow(self) -> None:
        if self._inputs is not None:
            self._inputs.follow_publishers()
        if self._scene is not None:
            self._scene.follow_publishers()

    def _watch(self) -> None:
        """Log new warnings and report a fault of the inputs that two consecutive checks find."""
        for warning in self.warnings:
            # Warnings that differ only in their numbers are logged once.
            kind = re.sub(r"\d", "", warning)
            if kind not in self._warned:
                self._warned.add(kind)
                self._node.get_logger().warning(warning)
        inputs = self._inputs
        fault = None if inputs is None else inputs.fault()
        if inputs is not None and fault is not None and self._had_fault:
            with self._lock:
                self._report(self._unmeasured(fault.reason, fault.severity), inputs.last_header)
        self._had_fault = fault is not None

    def _say(self, reason: str) -> None:
        self._report(Report(TrackingState.INITIALIZING, reason), self._header)

    def _report(self, report: Report, header: Any) -> None:
        """Publish a report with the stamp and frame of an image header; None: the current time."""
        stamp = self._node.get_clock().now().to_msg() if header is None else header.stamp
        camera_frame = "" if header is None else header.frame_id
        self._components.reporter.report(report, stamp, camera_frame)

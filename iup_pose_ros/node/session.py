"""What runs while the node is active: images in, odometry out, and a watch over what stays away."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.node.debug_output import DebugOutput
from iup_pose_ros.node.inputs import Complaint, ImageInputs
from iup_pose_ros.node.mailbox import FrameCounter, FrameCounts, Mailbox
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.reporting import Report, Severity, TrackingReporter
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.wheel_odometry import WheelOdometry
from iup_pose_ros.node.worker import Worker
from iup_pose_ros.odometry import KeyframeEdge, OdometryUpdate, TrackingState, WheelHistory
from iup_pose_ros.stamps import NANOSECONDS, nanoseconds

Result = TypeVar("Result")

PAUSED = "paused; ~/pause with data: false goes on"
_CHECKS_PER_TIMEOUT = 4
_FOLLOW_PERIOD = 0.1


@dataclass(frozen=True)
class Equipment:
    """What a session works with; it exists from configure to cleanup.

    Attributes:
        pipeline: image to odometry.
        outputs: publishers of the odometry.
        debug: publisher of the picture for people.
        reporter: publisher of the tracking state.
        monitor: collects figures.
        wheels: takes wheel odometry, where the settings ask for it.
    """

    pipeline: FramePipeline
    outputs: OdometryOutputs
    debug: DebugOutput
    reporter: TrackingReporter
    monitor: Monitor
    wheels: WheelHistory | None


class TrackingSession:
    """Starts with its creation, at the origin, and ends with ``close``.

    Args:
        node: the node, for subscriptions, timer and log.
        config: settings.
        equipment: what it works with.
        paused: whether it begins without listening to images.
    """

    def __init__(self, node: Node, config: NodeConfig, equipment: Equipment, paused: bool) -> None:
        self._node = node
        self._config = config
        self._equipment = equipment
        self._complained = False
        self._changed_at = time.monotonic()
        self._header: Any = None
        self._last_edge: KeyframeEdge | None = None
        # Guards what the worker publishes against orders from the executor's thread.
        self._lock = threading.Lock()
        self._is_reset_due = False
        self._new_config: NodeConfig | None = None
        equipment.pipeline.reset()
        equipment.outputs.forget()
        self._counter = FrameCounter()
        self._mailbox: Mailbox[tuple[Any, Any]] = Mailbox(self._counter)
        self._worker = Worker(self._mailbox, self._work)
        self._inputs = None if paused else self._listen()
        wheels = equipment.wheels
        self._wheels = None if wheels is None else WheelOdometry(node, config.base_frame, wheels)
        # A steady clock, because time of a bag or simulator stands still exactly when inputs stay away.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(config.input_timeout / _CHECKS_PER_TIMEOUT, self._watch, clock=self._steady),
            node.create_timer(_FOLLOW_PERIOD, self._follow, clock=self._steady),
        ]
        self._say(PAUSED if paused else "waiting for images")

    @property
    def counts(self) -> FrameCounts:
        """What became of the images so far."""
        return self._counter.counts()

    def close(self) -> None:
        """Ends subscriptions and worker; waits for the image in hand."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._end_inputs()
        if self._wheels is not None:
            self._wheels.close()
        self._worker.stop()

    def reset(self) -> None:
        """Back to the origin. What is still made of the image in hand is not published."""
        with self._lock:
            self._is_reset_due = True
            self._equipment.outputs.forget()
            self._say("reset to the origin" if self._inputs else f"reset to the origin; {PAUSED}")

    def pause(self) -> None:
        """Takes no more images; the result of the one in hand may still come out."""
        if self._inputs is None:
            return
        self._end_inputs()
        self._mailbox.clear()
        with self._lock:
            self._report(self._unmeasured(Complaint(PAUSED, Severity.NONE)), self._header)

    def resume(self) -> None:
        """Takes images again."""
        if self._inputs is None:
            self._inputs = self._listen()
            with self._lock:
                waiting = Complaint("waiting for images after a pause", Severity.NONE)
                self._report(self._unmeasured(waiting), self._header)

    def change(self, config: NodeConfig) -> None:
        """Goes on with other settings of what can change at run time."""
        with self._lock:
            self._config = self._new_config = config
            self._equipment.outputs.change(config)
        if self._inputs is not None:
            self._inputs.timeout = config.input_timeout
        self._node.destroy_timer(self._timers[0])
        period = config.input_timeout / _CHECKS_PER_TIMEOUT
        self._timers[0] = self._node.create_timer(period, self._watch, clock=self._steady)

    def _listen(self) -> ImageInputs:
        return ImageInputs(
            self._node,
            self._config,
            self._counter,
            self._equipment.monitor,
            lambda *pair: self._mailbox.put(pair),
        )

    def _end_inputs(self) -> None:
        if self._inputs is not None:
            self._header = self._inputs.last_header or self._header
            self._inputs.close()
            self._inputs = None

    def _work(self, pair: tuple[Any, Any]) -> None:
        """Takes one image through; whatever it does wrong ends here and is reported."""
        image, info = pair
        self._follow_orders()
        update, fault = self._attempt(lambda: self._equipment.pipeline.process(image, info))
        with self._lock:
            if self._is_reset_due:
                self._counter.add(processed=1)
                return
            report = self._publish(update, fault, image.header)
            is_fault = report.severity is Severity.ERROR or (update is not None and update.repeated)
            self._counter.add(processed=int(not is_fault), dropped_invalid=int(is_fault))
            if self._inputs is not None:
                self._report(report, image.header)
        _, fault = self._attempt(lambda: self._look_back(image.header, report))
        if fault:
            self._node.get_logger().warning(f"no debug image: {fault}", throttle_duration_sec=5.0)

    def _follow_orders(self) -> None:
        """Does what was ordered since the last image; in the worker's thread, as the pipeline is its own."""
        with self._lock:
            if self._is_reset_due:
                self._equipment.pipeline.reset()
                self._is_reset_due = False
            if self._new_config is not None:
                self._equipment.pipeline.change(self._new_config)
                self._new_config = None

    def _attempt(self, action: Callable[[], Result]) -> tuple[Result | None, str]:
        """The result of an action or, where it fails, why."""
        try:
            return action(), ""
        except IupPoseError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - the node outlives every image
            self._node.get_logger().debug(traceback.format_exc())
            return None, f"unexpected {type(error).__name__}: {error}"

    def _publish(self, update: OdometryUpdate | None, fault: str, header: Any) -> Report:
        """Publishes an update; reports on it, or on why there is none."""
        equipment = self._equipment
        if update is not None:
            clock = equipment.pipeline.clock
            _, fault = self._attempt(lambda: equipment.outputs.publish(update, header.stamp, clock))
        if update is None or fault:
            return self._unmeasured(Complaint(fault, Severity.ERROR))
        if update.edge is not None:
            self._last_edge = update.edge
            equipment.monitor.estimated(update.edge.inference_time)
        self._changed_at = self._changed_at if update.repeated else time.monotonic()
        unchanged = time.monotonic() - self._changed_at
        if update.repeated and unchanged >= self._config.input_timeout:
            return self._unmeasured(
                Complaint(
                    f"images come, but their pixels have not changed for {unchanged:.1f} s: the camera or "
                    "its driver sends the last image again",
                    Severity.ERROR,
                )
            )
        severity = Severity.ERROR if update.refused else Severity.NONE
        return Report(update.state, update.reason, severity, equipment.pipeline.keyframes)

    def _look_back(self, header: Any, report: Report) -> None:
        """Figures and picture of an image that is done."""
        equipment = self._equipment
        now = self._node.get_clock().now().nanoseconds
        equipment.monitor.image_done((now - nanoseconds(header.stamp)) / NANOSECONDS)
        view = equipment.pipeline.view
        if view is not None and equipment.debug.is_watched:
            equipment.debug.publish(view, header, report, self._last_edge)

    def _unmeasured(self, complaint: Complaint) -> Report:
        """Without a usable image motion is not measured: LOST, unless it never was."""
        equipment = self._equipment
        started = equipment.reporter.last.state != TrackingState.INITIALIZING
        state = TrackingState.LOST if started else TrackingState.INITIALIZING
        return Report(state, complaint.reason, complaint.severity, equipment.pipeline.keyframes)

    def _follow(self) -> None:
        if self._inputs is not None:
            self._inputs.follow_publishers()

    def _watch(self) -> None:
        """Reports a complaint about the inputs that two checks in a row have."""
        inputs = self._inputs
        complaint = None if inputs is None else inputs.complaint()
        if inputs is not None and complaint is not None and self._complained:
            with self._lock:
                self._report(self._unmeasured(complaint), inputs.last_header)
        self._complained = complaint is not None

    def _say(self, reason: str) -> None:
        self._report(Report(TrackingState.INITIALIZING, reason), self._header)

    def _report(self, report: Report, header: Any) -> None:
        stamp = self._node.get_clock().now().to_msg() if header is None else header.stamp
        camera_frame = "" if header is None else header.frame_id
        self._equipment.reporter.report(report, self._counter.counts(), stamp, camera_frame)

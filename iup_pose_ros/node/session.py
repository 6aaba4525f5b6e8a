"""What runs while the node is active: images in, odometry out, and a watch over what stays away."""

from __future__ import annotations

import traceback
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.node.inputs import ImageInputs
from iup_pose_ros.node.mailbox import FrameCounter, Mailbox
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.reporting import Report, TrackingReporter
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.worker import Worker
from iup_pose_ros.odometry import OdometryUpdate, TrackingState

_CHECKS_PER_TIMEOUT = 4
_FOLLOW_PERIOD = 0.1


class TrackingSession:
    """Starts with its creation and ends with ``close``.

    Args:
        node: the node, for subscriptions, timer and log.
        config: settings.
        pipeline: image to odometry; starts from the origin.
        outputs: publishers of the odometry.
        reporter: publisher of the tracking state.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        pipeline: FramePipeline,
        outputs: OdometryOutputs,
        reporter: TrackingReporter,
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._outputs = outputs
        self._reporter = reporter
        self._keyframes = 0
        self._complained = False
        pipeline.reset()
        self._counter = FrameCounter()
        mailbox: Mailbox[tuple[Any, Any]] = Mailbox(self._counter)
        self._worker = Worker(mailbox, self._work)
        self._inputs = ImageInputs(node, config, self._counter, lambda *pair: mailbox.put(pair))
        # A steady clock, because time of a bag or simulator stands still exactly when inputs stay away.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(config.input_timeout / _CHECKS_PER_TIMEOUT, self._watch, clock=steady),
            node.create_timer(_FOLLOW_PERIOD, self._inputs.follow_publishers, clock=steady),
        ]

    def close(self) -> None:
        """Ends subscriptions and worker; waits for the image in hand."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._inputs.close()
        self._worker.stop()

    def _work(self, pair: tuple[Any, Any]) -> None:
        """Takes one image through; whatever it does wrong ends here and is reported."""
        image, info = pair
        refused_before = self._pipeline.refused_frames
        try:
            update = self._pipeline.process(image, info)
            self._outputs.publish(update, image.header.stamp, self._pipeline.clock)
        except IupPoseError as error:
            report = self._fault(str(error))
        except Exception as error:  # noqa: BLE001 - the node outlives every image
            self._node.get_logger().debug(traceback.format_exc())
            report = self._fault(f"unexpected {type(error).__name__}: {error}")
        else:
            report = self._outcome(update, is_fault=self._pipeline.refused_frames > refused_before)
        self._counter.add(processed=int(not report.is_fault), dropped_invalid=int(report.is_fault))
        self._report(report, image.header)

    def _outcome(self, update: OdometryUpdate, is_fault: bool) -> Report:
        if update.edge is not None:
            self._keyframes = update.edge.current_id + 1
        return Report(update.state, update.reason, is_fault, self._keyframes)

    def _fault(self, reason: str) -> Report:
        """Without a usable image motion is not measured: LOST, unless it never was."""
        started = self._reporter.last.state != TrackingState.INITIALIZING
        state = TrackingState.LOST if started else TrackingState.INITIALIZING
        return Report(state, reason, is_fault=True, keyframes=self._keyframes)

    def _watch(self) -> None:
        """Reports a complaint about the inputs that two checks in a row have."""
        complaint = self._inputs.complaint()
        if complaint and self._complained:
            self._report(self._fault(complaint), self._inputs.last_header)
        self._complained = bool(complaint)

    def _report(self, report: Report, header: Any) -> None:
        stamp = self._node.get_clock().now().to_msg() if header is None else header.stamp
        camera_frame = "" if header is None else header.frame_id
        self._reporter.report(report, self._counter.counts(), stamp, camera_frame)

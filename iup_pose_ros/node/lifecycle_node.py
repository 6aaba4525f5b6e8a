"""The managed ROS 2 node: construction and destruction of its parts in the lifecycle transitions."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tf2_ros
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.estimators.oom_fallback import CreateEstimator, OutOfMemoryFallback
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.node.camera_extrinsics import ExtrinsicsLookup
from iup_pose_ros.node.debug_output import DebugOutput
from iup_pose_ros.node.diagnostics import DiagnosticsPublisher, Status
from iup_pose_ros.node.monitor import Monitor
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.parameters import (
    change_parameters,
    declare_parameters,
    read_config,
    unknown_overrides,
)
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.reporting import Report, Severity, TrackingReporter
from iup_pose_ros.node.services import NodeServices
from iup_pose_ros.node.session import SessionComponents, TrackingSession
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.subscriptions import image_topic
from iup_pose_ros.node.trajectory_log import SavedTrajectory
from iup_pose_ros.odometry import TrackingState
from iup_pose_ros.odometry.sensor_histories import SensorHistories

_UNCONFIGURED = "the node is not configured"
_INACTIVE = "the node is inactive"
_SHUT_DOWN = "the node is shut down"


@dataclass(frozen=True)
class _Configured:
    """The objects that exist from configure to cleanup."""

    config: NodeConfig
    estimator: OutOfMemoryFallback
    components: SessionComponents


class VoNode(LifecycleNode):
    """Visual odometry node: configure builds the estimator, activate subscribes and starts processing.

    A transition that fails reports why in the log and on ~/tracking_state and leaves the node as it was.

    Args:
        create: creates the estimator that the parameter ``estimator`` names.

    Raises:
        rclpy.exceptions.ParameterException: a parameter override has a wrong type or value.
    """

    def __init__(self, create: CreateEstimator = create_estimator) -> None:
        super().__init__("vo_node")
        self._create = create
        self._configured: _Configured | None = None
        self._session: TrackingSession | None = None
        self._is_paused = False
        self._life_cycle = "unconfigured"
        declare_parameters(self)
        self._unknown_parameters = unknown_overrides(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._monitor = Monitor()
        self._reporter = TrackingReporter(self, self._monitor)
        # Subscribed from the start, so that extrinsics published once are known when the first image arrives.
        self._tf_buffer = tf2_ros.Buffer()
        self._tf_listener = tf2_ros.TransformListener(self._tf_buffer, self)
        NodeServices(self, self)
        DiagnosticsPublisher(self, self._status)
        for warning in self._unknown_parameters:
            self.get_logger().warning(f"{warning} It is ignored.")
        self._say(_UNCONFIGURED)

    def autostart(self) -> None:
        """Configure and activate the node if the parameter ``autostart`` is true."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_fault(self, error: Exception) -> None:
        """Log and count an unexpected error in a callback."""
        text = f"unexpected {type(error).__name__} in a callback: {error}"
        self._monitor.on_fault(text)
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self.get_logger().error(text, throttle_duration_sec=5.0)

    def stop(self) -> None:
        """End the session, if any; no odometry is published afterwards."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def reset(self) -> str:
        """See services.Commands.reset."""
        components = self._ready().components
        if self._session is not None:
            self._session.reset()
        else:
            components.outputs.forget()
        return "odometry reset to the origin"

    def pause(self, paused: bool) -> str:
        """See services.Commands.pause."""
        if self._life_cycle == "finalized":
            raise IupPoseError(_SHUT_DOWN)
        self._is_paused = paused
        if self._session is None:
            return f"{'paused' if paused else 'not paused'} as soon as the node is active"
        if paused:
            self._session.pause()
        else:
            self._session.resume()
        return "paused: images are ignored" if paused else "resumed"

    def save_trajectory(self, filename: str) -> SavedTrajectory:
        """See services.Commands.save_trajectory."""
        ready = self._ready()
        config = ready.config
        frames = f"{config.base_frame} in {config.odom_frame}"
        return ready.components.outputs.trajectory.save(config.output_directory, filename, frames)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters and build the estimator."""
        return self._transition("configure", self._configure, "inactive", _INACTIVE)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images and start the worker."""

        def activate() -> None:
            ready = self._ready()
            self._session = TrackingSession(self, ready.config, ready.components, self._is_paused)

        return self._transition("activate", activate, "active")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End subscriptions and worker; keep the estimator."""
        return self._transition("deactivate", self.stop, "inactive", _INACTIVE)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the estimator and the publishers."""
        return self._transition("clean up", self._clean_up, "unconfigured", _UNCONFIGURED)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End everything, from any state."""
        return self._transition("shut down", self._clean_up, "finalized", _SHUT_DOWN)

    def _ready(self) -> _Configured:
        """Return the objects of the configured node.

        Raises:
            IupPoseError: the node is not configured.
        """
        if self._configured is None:
            raise IupPoseError(_SHUT_DOWN if self._life_cycle == "finalized" else _UNCONFIGURED)
        return self._configured

    def _configure(self) -> None:
        config = read_config(self)
        estimator = OutOfMemoryFallback(
            config.estimator, config.network, config.on_out_of_memory, self._create
        )
        if config.assume_identity_mount:
            self.get_logger().warning(
                f"assume_identity_mount: {config.base_frame} is assumed to be the camera's optical frame"
            )
        extrinsics = ExtrinsicsLookup(
            self._tf_buffer,
            config.base_frame,
            config.mount_timeout,
            config.assume_identity_mount,
            self.get_logger().info,
        )
        sensors = SensorHistories.required(config.odometry.scale_source, config.motion_prior)
        components = SessionComponents(
            FramePipeline(estimator, config, extrinsics, sensors, image_topic(self, config)),
            OdometryOutputs(self, config, self._monitor),
            DebugOutput(self),
            self._reporter,
            self._monitor,
            sensors,
        )
        self._configured = _Configured(config, estimator, components)
        self.get_logger().info(f"configured with estimator {estimator.info}")

    def _clean_up(self) -> None:
        self.stop()
        ready, self._configured = self._configured, None
        if ready is not None:
            ready.components.outputs.close()
            ready.components.debug.close()
            ready.estimator.close()

    def _on_parameters(self, changes: Sequence[Any]) -> SetParametersResult:
        """Accept or reject a change; without an answer the caller would wait for ever."""
        try:
            return change_parameters(self, changes, self._configured is not None, self._change)
        except Exception as error:  # noqa: BLE001 - reported in the result
            self.on_fault(error)
            return SetParametersResult(successful=False, reason=f"unexpected {type(error).__name__}: {error}")

    def _change(self, config: NodeConfig) -> None:
        """Apply changed run-time parameters."""
        ready = self._ready()
        self._configured = replace(ready, config=config)
        if self._session is not None:
            self._session.change(config)
        else:
            ready.components.pipeline.change(config)
            ready.components.outputs.change(config)

    def _transition(
        self, name: str, action: Callable[[], None], life_cycle: str, afterwards: str = ""
    ) -> TransitionCallbackReturn:
        """Run the action of a transition and report the result; rclpy would discard an exception."""
        try:
            action()
        except IupPoseError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a failed transition must not end the node
            self.get_logger().debug(traceback.format_exc())
            reason = f"{type(error).__name__}: {error}"
        else:
            self._life_cycle = life_cycle
            if afterwards:
                self._say(afterwards)
            return TransitionCallbackReturn.SUCCESS
        remedy = f"the node stays {self._life_cycle}"
        if name == "configure":
            node = self.get_fully_qualified_name()
            remedy = (
                f"correct it (ros2 param set {node} NAME VALUE), then: "
                f"ros2 lifecycle set {node} configure, and activate"
            )
        self._say(f"cannot {name}: {reason}; {remedy}", Severity.ERROR)
        return TransitionCallbackReturn.FAILURE

    def _say(self, reason: str, severity: Severity = Severity.NONE) -> None:
        """Publish and log a reason that does not come from an image."""
        report = Report(TrackingState.INITIALIZING, reason, severity)
        self._reporter.report(report, self.get_clock().now().to_msg())

    def _status(self) -> Status:
        """Return the current content of the diagnostics."""
        ready, session = self._configured, self._session
        warnings = [] if ready is None else [ready.components.outputs.warning]
        warnings += [] if session is None else session.warnings
        awaits_images = session is not None and ready is not None and not self._is_paused
        return Status(
            life_cycle=self._life_cycle,
            report=self._reporter.last,
            warnings=[*self._unknown_parameters, *(text for text in warnings if text)],
            figures=self._monitor.snapshot(),
            estimator=None if ready is None else ready.estimator.info,
            device_megabytes=float("nan") if ready is None else ready.estimator.device_megabytes,
            camera_frame=self._reporter.camera_frame,
            input_timeout=ready.config.input_timeout if ready and awaits_images else float("inf"),
        )

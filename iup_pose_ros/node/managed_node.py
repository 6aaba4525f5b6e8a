"""Visual odometry as a managed ROS 2 node: what exists in which state of its life cycle."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

import tf2_ros
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.estimators.base import RelativePoseEstimator
from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.node.mailbox import FrameCounts
from iup_pose_ros.node.outputs import OdometryOutputs
from iup_pose_ros.node.parameters import check_change, declare_parameters, read_config
from iup_pose_ros.node.pipeline import FramePipeline
from iup_pose_ros.node.reporting import Report, TrackingReporter
from iup_pose_ros.node.session import TrackingSession
from iup_pose_ros.node.settings import NodeConfig
from iup_pose_ros.node.transforms import MountLookup
from iup_pose_ros.odometry import TrackingState


@dataclass(frozen=True)
class _Configured:
    """What exists from configure to cleanup."""

    config: NodeConfig
    pipeline: FramePipeline
    outputs: OdometryOutputs


class VoNode(LifecycleNode):
    """configure builds the estimator, activate subscribes and works, deactivate stops, cleanup frees.

    A transition that fails says why in the log and in ~/tracking_state and leaves the node as it was.

    Args:
        create: makes the estimator that the parameter ``estimator`` names.

    Raises:
        rclpy.exceptions.ParameterException: a parameter given at start has a wrong type or value.
    """

    def __init__(self, create: Callable[[str], RelativePoseEstimator] = create_estimator) -> None:
        super().__init__("vo_node")
        self._create = create
        self._configured: _Configured | None = None
        self._session: TrackingSession | None = None
        declare_parameters(self)
        self.add_on_set_parameters_callback(
            lambda changes: check_change(self, changes, self._configured is not None)
        )
        self._reporter = TrackingReporter(self)
        # Listens from the start, so that a mount published once is known when the first image comes.
        self._tf_buffer = tf2_ros.Buffer()
        self._tf_listener = tf2_ros.TransformListener(self._tf_buffer, self)
        self._say("the node is not configured")

    def autostart(self) -> None:
        """Configures and activates the node where its parameter says so."""
        if not self.get_parameter("autostart").value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def stop(self) -> None:
        """Ends the work in any state; nothing is published any more."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters and builds the estimator."""
        return self._transition("configure", self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes to the images and starts the worker."""
        return self._transition("activate", self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends subscriptions and worker; the estimator stays."""
        return self._transition("deactivate", self.stop, "the node is inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the estimator and the publishers."""
        return self._transition("clean up", self._clean_up, "the node is not configured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends everything, from any state."""
        return self._transition("shut down", self._clean_up, "the node is shut down")

    def _configure(self) -> None:
        config = read_config(self)
        estimator = self._create(config.estimator)
        if config.assume_identity_mount:
            self.get_logger().warning(
                f"assume_identity_mount: {config.base_frame} is taken to be the camera's optical frame"
            )
        mounts = MountLookup(
            self._tf_buffer, config.base_frame, config.mount_timeout, config.assume_identity_mount
        )
        pipeline = FramePipeline(estimator, config, mounts)
        self._configured = _Configured(config, pipeline, OdometryOutputs(self, config))
        self._say("the node is inactive")
        self.get_logger().info(f"configured with estimator {estimator.name}")

    def _activate(self) -> None:
        ready = self._configured
        if ready is None:
            raise IupPoseError("the node is not configured")
        self._say("waiting for images")
        self._session = TrackingSession(self, ready.config, ready.pipeline, ready.outputs, self._reporter)

    def _clean_up(self) -> None:
        self.stop()
        if self._configured is not None:
            self._configured.outputs.close()
            self._configured = None

    def _transition(
        self, name: str, action: Callable[[], None], afterwards: str = ""
    ) -> TransitionCallbackReturn:
        """Runs the action of a transition; rclpy itself would swallow what it raises."""
        try:
            action()
        except IupPoseError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a failed transition is an answer, not the end of the node
            self.get_logger().debug(traceback.format_exc())
            reason = f"{type(error).__name__}: {error}"
        else:
            if afterwards:
                self._say(afterwards)
            return TransitionCallbackReturn.SUCCESS
        self._say(f"cannot {name}: {reason}", is_fault=True)
        return TransitionCallbackReturn.FAILURE

    def _say(self, reason: str, is_fault: bool = False) -> None:
        report = Report(TrackingState.INITIALIZING, reason, is_fault)
        self._reporter.report(report, FrameCounts(), self.get_clock().now().to_msg())

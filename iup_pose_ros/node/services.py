"""The node's services; each responds in every lifecycle state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from iup_pose_msgs.srv import SaveTrajectory
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.node.trajectory_log import SavedTrajectory


class Commands(Protocol):
    """The actions behind the services; each raises IupPoseError if the node's state does not allow it."""

    def reset(self) -> str:
        """Reset the odometry to the origin; return a message for the response."""

    def pause(self, paused: bool) -> str:
        """Pause or resume the processing of images; return a message for the response."""

    def save_trajectory(self, filename: str) -> SavedTrajectory:
        """Write the trajectory to a file."""

    def on_fault(self, error: Exception) -> None:
        """Log and count an unexpected error."""


class NodeServices:
    """~/reset, ~/pause and ~/save_trajectory.

    Args:
        node: owner of the services.
        commands: called by the services.
    """

    def __init__(self, node: Node, commands: Commands) -> None:
        self._node = node
        self._commands = commands
        node.create_service(
            Trigger, "~/reset", lambda _, response: self._respond(response, "reset", commands.reset)
        )
        node.create_service(
            SetBool,
            "~/pause",
            lambda request, response: self._respond(response, "pause", lambda: commands.pause(request.data)),
        )
        node.create_service(SaveTrajectory, "~/save_trajectory", self._save_trajectory)

    def _save_trajectory(self, request: Any, response: Any) -> Any:
        def save() -> str:
            saved = self._commands.save_trajectory(request.filename)
            response.path, response.poses = str(saved.path), saved.poses
            return saved.message

        return self._respond(response, "save_trajectory", save)

    def _respond(self, response: Any, name: str, action: Callable[[], str]) -> Any:
        """Fill in success and message of the response; an exception in the action does not end the node."""
        try:
            response.message, response.success = action(), True
            self._node.get_logger().info(f"{name}: {response.message}")
        except IupPoseError as error:
            response.message, response.success = str(error), False
            self._node.get_logger().warning(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - reported in the response
            response.message, response.success = f"unexpected {type(error).__name__}: {error}", False
            self._commands.on_fault(error)
        return response

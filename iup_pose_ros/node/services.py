"""The node's services; each answers in every state of the life cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from iup_pose_msgs.srv import SaveTrajectory
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.node.trajectory_log import SavedTrajectory


class Commands(Protocol):
    """What the services order; each raises IupPoseError where the node cannot do it in its state."""

    def reset(self) -> str:
        """Back to the origin; says what was done."""

    def pause(self, paused: bool) -> str:
        """Stops or goes on taking images; says what was done."""

    def save_trajectory(self, filename: str) -> SavedTrajectory:
        """Writes the trajectory."""


class NodeServices:
    """~/reset, ~/pause and ~/save_trajectory.

    Args:
        node: owner of the services.
        commands: what they order.
    """

    def __init__(self, node: Node, commands: Commands) -> None:
        self._node = node
        self._commands = commands
        node.create_service(Trigger, "~/reset", self._reset)
        node.create_service(SetBool, "~/pause", self._pause)
        node.create_service(SaveTrajectory, "~/save_trajectory", self._save_trajectory)

    def _reset(self, request: Any, response: Any) -> Any:
        return self._answer(response, "reset", lambda: self._commands.reset())

    def _pause(self, request: Any, response: Any) -> Any:
        return self._answer(response, "pause", lambda: self._commands.pause(request.data))

    def _save_trajectory(self, request: Any, response: Any) -> Any:
        def save() -> str:
            saved = self._commands.save_trajectory(request.filename)
            response.path, response.poses = str(saved.path), saved.poses
            return saved.message

        return self._answer(response, "save_trajectory", save)

    def _answer(self, response: Any, name: str, action: Callable[[], str]) -> Any:
        """Fills success and message; nothing that an order does wrong ends the node."""
        try:
            response.message, response.success = action(), True
            self._node.get_logger().info(f"{name}: {response.message}")
        except IupPoseError as error:
            response.message, response.success = str(error), False
            self._node.get_logger().warning(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - a service that fails is an answer
            response.message, response.success = f"unexpected {type(error).__name__}: {error}", False
            self._node.get_logger().error(f"{name}: {response.message}")
        return response

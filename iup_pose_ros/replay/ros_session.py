"""A ROS node of this process, spun in a background thread."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


@contextlib.contextmanager
def ros_session(
    name: str, environment: Mapping[str, str], remaps: Mapping[str, str] | None = None
) -> Iterator[Node]:
    """Create a node whose callbacks run in a thread until the context ends.

    Args:
        name: name of the node.
        environment: environment variables while the session lasts; ROS_DOMAIN_ID must be among them.
        remaps: topic names by the name that the node uses.
    """
    with _variables(environment):
        context = Context()
        # Ctrl-C is left to the caller, who has to end a node process.
        rclpy.init(
            args=[],
            context=context,
            domain_id=int(environment["ROS_DOMAIN_ID"]),
            signal_handler_options=SignalHandlerOptions.NO,
        )
        options = [word for used, topic in (remaps or {}).items() for word in ("-r", f"{used}:={topic}")]
        node = rclpy.create_node(
            name,
            context=context,
            cli_args=["--ros-args", *options],
            start_parameter_services=False,
            enable_rosout=False,
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, name=name, daemon=True)
        thread.start()
        try:
            yield node
        finally:
            executor.shutdown()
            thread.join()
            node.destroy_node()
            rclpy.shutdown(context=context)


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process temporarily: DDS reads them when a context is created."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

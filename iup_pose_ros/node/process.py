"""Run the node until the process is asked to stop, then shut it down in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from iup_pose_ros.node.lifecycle_node import VoNode
from iup_pose_ros.node.stop_request import StopRequest

# Seconds from a stop request until the process ends, even if the estimator or a transition is still busy.
_GRACE = 1.5


def run(create_node: Callable[[], VoNode], stop: StopRequest, args: Sequence[str] | None = None) -> int:
    """Create, start and spin the node until a stop is requested; return the exit code of the process."""
    stop.defer()
    # The signal handlers of rclpy would invalidate the context while the worker still publishes.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = create_node()
        try:
            _spin_until(stop, node)
        finally:
            node.stop()
            node.destroy_node()
    except ParameterException as error:
        get_logger("vo_node").fatal(str(error))
        return 1
    finally:
        rclpy.shutdown()
    return 0


def _spin_until(stop: StopRequest, node: VoNode) -> None:
    """Start the node and execute its callbacks, in a second thread, until a stop is requested.

    Python runs signal handlers only while the main thread, which waits here, executes Python code.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stopped: Future = Future()

    def spin() -> None:
        executor.create_task(node.autostart)
        while not stopped.done() and node.context.ok():
            try:
                executor.spin_until_future_complete(stopped)
            except Exception as error:  # noqa: BLE001 - a message rclpy cannot decode must not end the node
                node.on_fault(error)

    def end_process() -> None:
        # Files are written atomically: each is whole or absent.
        node.get_logger().warning(f"still busy {_GRACE:g} s after the stop request: ends without waiting")
        os._exit(0)

    spinner = threading.Thread(target=spin, name="executor")
    spinner.start()
    stop.wait()
    timer = threading.Timer(_GRACE, end_process)
    timer.daemon = True
    timer.start()
    stopped.set_result(None)
    spinner.join()
    executor.shutdown()

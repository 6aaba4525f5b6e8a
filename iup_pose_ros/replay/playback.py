"""Run of the node on a recording; imports ROS only when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.evaluation.runs.run_record import RunRecord
from iup_pose_ros.node.settings import NodeConfig


def run_in_node(
    bag: BagReader,
    estimator: str,
    progress: Callable[[], None],
    *,
    rate: float,
    log: Path,
    config: NodeConfig,
    topics: Mapping[str, str],
) -> RunRecord:
    """Call ``live.run_live`` with these arguments; without ROS raise an error with the remedy.

    Raises:
        IupPoseError: ROS is not available, or as ``run_live``.
    """
    try:
        from iup_pose_ros.replay.live import run_live
    except ImportError as error:
        raise IupPoseError(
            f"the node cannot run without ROS 2 ({error}); source a distribution, use `make demo`, or run "
            "without ROS: --every-frame, in the demo --offline"
        ) from error
    return run_live(bag, estimator, progress, rate=rate, log=log, config=config, topics=topics)

"""A recording through the node; free of ROS, which is asked for only when it plays."""

from __future__ import annotations

from collections.abc import Callable

from iup_pose_ros.bags.reader import BagReader
from iup_pose_ros.errors import IupPoseError
from iup_pose_ros.evaluation.run_record import RunRecord
from iup_pose_ros.replay.playing import Playing


def run_in_node(bag: BagReader, estimator: str, playing: Playing, progress: Callable[[], None]) -> RunRecord:
    """``live.run_live``, refused by a sentence where there is no ROS.

    Raises:
        IupPoseError: there is no ROS, or as ``run_live``.
    """
    try:
        from iup_pose_ros.replay.live import run_live
    except ImportError as error:
        raise IupPoseError(
            f"the node cannot run without ROS 2 ({error}); source a distribution, use `make demo`, or run "
            "without ROS: --every-frame, in the demo --offline"
        ) from error
    return run_live(bag, estimator, playing, progress)

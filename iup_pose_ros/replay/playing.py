"""How a recording is played into the node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iup_pose_ros.estimators.network_options import NetworkOptions


@dataclass(frozen=True)
class Playing:
    """How to play.

    Attributes:
        rate: speed, 1 as recorded; 0 waits for the node's answer to every image, so that none is dropped.
        log: file for the node's output.
        network: weights and device of learned estimators; None: the node's own defaults.
    """

    rate: float
    log: Path
    network: NetworkOptions | None = None

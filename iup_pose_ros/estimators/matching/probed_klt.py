"""Lucas-Kanade tracks with limited run time: probe tracks determine how many corners to track.

Points that cannot be tracked need the maximum number of iterations, so that frames with too large a motion
would take the longest and yield no tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.estimators.matching.features import LucasKanadeConfig, detect_corners, track_between
from iup_pose_ros.types import Frame, Matches

_TRACKING = LucasKanadeConfig(window=13, iterations=15)


@dataclass(frozen=True)
class ProbedTracksConfig:
    """Settings of probed tracking.

    Attributes:
        probes: number of corners that are tracked first, evenly sampled from the strongest to the weakest.
        min_success: fraction of probes that must be exceeded by valid tracks for other corners to be tracked.
        target: number of tracks to aim for.
        tracking: settings of corner detection and tracking.
    """

    probes: int = 150
    min_success: float = 0.05
    target: int = 150
    tracking: LucasKanadeConfig = _TRACKING


class ProbedLucasKanadeFrontEnd:
    """Tracks as many corners of the previous frame into the current one as are needed."""

    name = "klt"

    def __init__(self, config: ProbedTracksConfig = ProbedTracksConfig()) -> None:
        self._config = config

    def match(self, previous: Frame, current: Frame) -> Matches:
        """See FrontEnd.match; if too few probes can be tracked, only these are returned."""
        config, tracking = self._config, self._config.tracking
        corners = detect_corners(
            previous.grey,
            tracking.max_corners,
            tracking.min_distance,
            quality_level=tracking.quality_level,
            usable=previous.usable,
        )
        is_probe = np.zeros(len(corners), dtype=np.bool_)
        is_probe[:: max(1, len(corners) // config.probes)] = True
        probes, others = corners[is_probe], corners[~is_probe]
        found = track_between(previous, current, probes, tracking)
        if len(found) <= config.min_success * len(probes):
            return found
        needed = max(config.target - len(found), 0) * len(probes) // len(found)
        return found.followed_by(track_between(previous, current, others[:needed], tracking))

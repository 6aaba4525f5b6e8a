"""Lucas-Kanade tracks at no more cost than they are worth: a few corners tell how many of all to track.

Points that Lucas-Kanade cannot follow cost it the most steps, so that frames too far apart for it would take
the longest and give nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iup_pose_ros.estimators.matching.features import LucasKanadeConfig, detect_corners, track_between
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches

_TRACKING = LucasKanadeConfig(window=13, iterations=15)


@dataclass(frozen=True)
class ProbedTracksConfig:
    """Settings of probed tracking.

    Attributes:
        probes: corners tracked first, taken evenly from the strongest to the weakest.
        least_share: share of the probes of which more must be followed for others to be tracked, too.
        enough: number of tracks aimed at.
        tracking: detection and tracking of corners.
    """

    probes: int = 150
    least_share: float = 0.05
    enough: int = 150
    tracking: LucasKanadeConfig = _TRACKING


class ProbedLucasKanadeFrontEnd:
    """Corners of the previous frame, as many as are needed, tracked into the current one."""

    name = "klt"

    def __init__(self, config: ProbedTracksConfig = ProbedTracksConfig()) -> None:
        self._config = config

    def match(self, previous: Frame, current: Frame) -> Matches:
        """See FrontEnd.match; those of the probes alone where they show that others would not be followed."""
        config, tracking = self._config, self._config.tracking
        corners = detect_corners(
            previous.grey, tracking.max_corners, tracking.min_distance, quality_level=tracking.quality_level
        )
        probes, others = _split(corners, config.probes)
        found = track_between(previous, current, probes, tracking)
        if len(found) <= config.least_share * len(probes):
            return found
        needed = max(config.enough - len(found), 0) * len(probes) // len(found)
        return found.followed_by(track_between(previous, current, others[:needed], tracking))


def _split(corners: Array, count: int) -> tuple[Array, Array]:
    """About ``count`` of the corners (N, 2), evenly chosen, and the others, both in their order."""
    chosen = np.zeros(len(corners), dtype=np.bool_)
    chosen[:: max(1, len(corners) // count)] = True
    return corners[chosen], corners[~chosen]

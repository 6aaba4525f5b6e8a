"""The protocol every estimator implements."""

from __future__ import annotations

from typing import Protocol

from iup_pose_ros.types import Frame, Matches, RelativePose


class RelativePoseEstimator(Protocol):
    """What the odometry needs of an estimator."""

    @property
    def name(self) -> str:
        """Name for messages, tables and parameters."""

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose of two frames; matches tracked between them may be used instead of own features.

        Raises:
            EstimationError: the images do not determine a pose; the message says why.
        """

"""Estimator from point matches by epipolar geometry."""

from __future__ import annotations

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
from iup_pose_ros.estimators.matching.features import FrontEnd
from iup_pose_ros.types import Frame, Matches, RelativePose


class EpipolarEstimator:
    """Relative pose from the matches of a front end, or from matches of the caller.

    Args:
        front_end: finds matches.
        config: settings of the robust estimation.
    """

    def __init__(self, front_end: FrontEnd, config: EpipolarConfig | None = None) -> None:
        self._front_end = front_end
        self._solver = EpipolarSolver(self.name, config or EpipolarConfig())

    @property
    def name(self) -> str:
        """Return ``epipolar_`` and the name of the front end."""
        return f"epipolar_{self._front_end.name}"

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        return EstimatorInfo(self.name)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Estimate the relative pose with unit translation; see ``RelativePoseEstimator.estimate``.

        Raises:
            EstimationError: there are too few matches or too few inliers.
        """
        if matches is None:
            matches = self._front_end.match(previous, current)
        return self._solver.fit(previous, current, matches).pose

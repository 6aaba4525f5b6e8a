"""Estimators from point matches alone: those of a front end, or the caller's, and epipolar geometry."""

from __future__ import annotations

from iup_pose_ros.estimators.base import EstimatorInfo
from iup_pose_ros.estimators.epipolar.solver import EpipolarConfig, EpipolarSolver
from iup_pose_ros.estimators.matching.features import FrontEnd
from iup_pose_ros.types import Frame, Matches, RelativePose


class EpipolarEstimator:
    """Matches of a front end, or those given, to the pose of the current in the previous camera frame."""

    def __init__(self, front_end: FrontEnd, config: EpipolarConfig | None = None) -> None:
        self._front_end = front_end
        self._solver = EpipolarSolver(self.name, config or EpipolarConfig())

    @property
    def name(self) -> str:
        """``epipolar_`` and the front end's name."""
        return f"epipolar_{self._front_end.name}"

    @property
    def info(self) -> EstimatorInfo:
        """See RelativePoseEstimator.info."""
        return EstimatorInfo(self.name)

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose with translation of unit length (RelativePoseEstimator.estimate).

        Frames with the same ``frame_id`` come from one camera: errors of its calibration count once.

        Raises:
            EstimationError: too few matches, or too few of them agree on one motion.
        """
        if matches is None:
            matches = self._front_end.match(previous, current)
        return self._solver.fit(previous, current, matches).pose

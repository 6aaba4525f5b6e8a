"""Relative pose from point matches by epipolar geometry: PoseLib's LO-RANSAC and non-linear refinement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.base import Frame, Matches, RelativePose
from iup_pose_ros.estimators.epipolar_covariance import epipolar_covariance
from iup_pose_ros.estimators.features import FrontEnd
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose

_REFERENCE_SIZE = 640.0


@dataclass(frozen=True)
class EpipolarConfig:
    """Settings of the robust estimation.

    Attributes:
        threshold: greatest Sampson error of an inlier, pixels of an image whose longer side is 640 pixels.
        min_matches: fewest matches from which a pose is estimated.
        min_inliers: fewest matches that must agree with it.
        max_iterations: most RANSAC samples.
        success_probability: of having drawn one sample without outliers when sampling stops.
        seed: of RANSAC; the same input always gives the same output.
    """

    threshold: float = 1.0
    min_matches: int = 20
    min_inliers: int = 15
    max_iterations: int = 10_000
    success_probability: float = 0.9999
    seed: int = 0


class EpipolarEstimator:
    """Matches of a front end, or those given, to the pose of the current in the previous camera frame."""

    def __init__(self, front_end: FrontEnd, config: EpipolarConfig = EpipolarConfig()) -> None:
        self._front_end = front_end
        self._config = config

    @property
    def name(self) -> str:
        """``epipolar_`` and the front end's name."""
        return f"epipolar_{self._front_end.name}"

    def estimate(self, previous: Frame, current: Frame, matches: Matches | None = None) -> RelativePose:
        """Relative pose with translation of unit length (RelativePoseEstimator.estimate).

        Raises:
            EstimationError: too few matches, or too few of them agree on one motion.
        """
        if matches is None:
            matches = self._front_end.match(previous, current)
        if len(matches) < self._config.min_matches:
            raise EstimationError(
                f"not enough matches: {len(matches)}, at least {self._config.min_matches} are needed"
            )
        threshold = self._config.threshold * max(previous.image.shape[:2]) / _REFERENCE_SIZE
        T_prev_curr, inliers = self._robust_pose(matches, previous.intrinsics, current.intrinsics, threshold)
        covariance, sigma_t = epipolar_covariance(
            T_prev_curr, inliers, previous.intrinsics, current.intrinsics, threshold
        )
        sigma_R = np.sqrt(np.diag(covariance)[3:])
        return RelativePose(T_prev_curr, covariance, sigma_R, sigma_t, metric=False, source=self.name)

    def _robust_pose(
        self, matches: Matches, intrinsics_prev: Intrinsics, intrinsics_curr: Intrinsics, threshold: float
    ) -> tuple[Pose, Matches]:
        camera_pose, info = poselib.estimate_relative_pose(
            np.asarray(matches.points_prev, dtype=np.float64),
            np.asarray(matches.points_curr, dtype=np.float64),
            _poselib_camera(intrinsics_prev),
            _poselib_camera(intrinsics_curr),
            {
                "max_epipolar_error": threshold,
                "max_iterations": self._config.max_iterations,
                "success_prob": self._config.success_probability,
                "seed": self._config.seed,
            },
            {},
        )
        inlier = np.asarray(info["inliers"], dtype=bool)
        if np.count_nonzero(inlier) < self._config.min_inliers:
            raise EstimationError(
                f"no consistent motion: {np.count_nonzero(inlier)} of {len(matches)} matches agree, "
                f"at least {self._config.min_inliers} are needed"
            )
        rotation, translation = np.asarray(camera_pose.R), np.asarray(camera_pose.t)
        length = np.linalg.norm(translation)
        if not np.all(np.isfinite(rotation)) or not np.isfinite(length) or length == 0.0:
            raise EstimationError(f"no motion found that explains the {len(matches)} matches")
        T_curr_prev = Pose(rotation, translation / length)
        return T_curr_prev.inverse(), Matches(matches.points_prev[inlier], matches.points_curr[inlier])


def _poselib_camera(intrinsics: Intrinsics) -> dict[str, object]:
    parameters = [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]
    return {
        "model": "PINHOLE",
        "width": intrinsics.width,
        "height": intrinsics.height,
        "params": parameters,
    }

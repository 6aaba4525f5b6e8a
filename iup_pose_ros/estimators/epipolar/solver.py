"""Relative pose from point matches by epipolar geometry, and what matches say of a pose found otherwise.

PoseLib's LO-RANSAC and non-linear refinement find the pose; its covariance is that of `covariance`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import poselib

from iup_pose_ros.errors import EstimationError
from iup_pose_ros.estimators.epipolar.covariance import (
    CAUCHY_SCALE,
    IntrinsicsUncertainty,
    noise_scale,
    pose_covariance,
)
from iup_pose_ros.estimators.epipolar.planar_ambiguity import (
    ambiguity_covariance,
    second_pose,
    second_pose_probability,
)
from iup_pose_ros.estimators.epipolar.residuals import CameraPair, EpipolarErrors
from iup_pose_ros.geometry.camera import Intrinsics
from iup_pose_ros.geometry.pose import Pose, symmetrised
from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.types import Frame, Matches, RelativePose

_INLIER_BAND = 3.0
_REFINEMENTS = 2
# The translation's length is a convention; its variance only keeps the covariance positive definite.
_LENGTH_VARIANCE = 1e-6


@dataclass(frozen=True)
class EpipolarConfig:
    """Settings of the robust estimation. Pixels are those of an image whose longer side has 640.

    Attributes:
        threshold: greatest Sampson error of an inlier during sampling, pixels.
        least_noise: standard deviation that no match is believed to be below, pixels.
        independent_noise: standard deviation of errors that matches can have independently of each other,
            pixels; larger ones are taken as common to neighbours.
        min_matches: fewest matches from which a pose is estimated.
        min_inliers: fewest matches that must agree with it.
        min_iterations: fewest RANSAC samples, because the first good pose is seldom the best one.
        max_iterations: most RANSAC samples.
        success_probability: of having drawn one sample without outliers when sampling stops.
        seed: of RANSAC; the same input always gives the same output.
        intrinsics_uncertainty: what the covariance allows for errors of the calibration.
    """

    threshold: float = 1.0
    least_noise: float = 0.05
    independent_noise: float = 0.1
    min_matches: int = 20
    min_inliers: int = 15
    min_iterations: int = 300
    max_iterations: int = 10_000
    success_probability: float = 0.9999
    seed: int = 0
    intrinsics_uncertainty: IntrinsicsUncertainty = field(default_factory=IntrinsicsUncertainty)


@dataclass(frozen=True, eq=False)
class EpipolarResult:
    """A pose from matches and its support.

    Attributes:
        errors: of the matches that agree with it.
        noise: their standard deviation, pixels.
        matches: number of matches it was estimated from.
        second: errors of the same matches under the second pose of a nearly planar scene; None where there is
            none.
        second_probability: probability that the second pose is the true one.
        source: name of the pose's estimator.
        config: settings of the estimation.
    """

    errors: EpipolarErrors
    noise: float
    matches: int
    second: EpipolarErrors | None
    second_probability: float
    source: str
    config: EpipolarConfig

    @property
    def T_prev_curr(self) -> Pose:
        """The pose, of unit translation."""
        return self.errors.T_prev_curr

    @property
    def agreeing(self) -> Matches:
        """The matches that agree with the pose."""
        return self.errors.matches

    @property
    def inliers(self) -> int:
        """Number of matches that agree with the pose."""
        return len(self.agreeing)

    @cached_property
    def pose(self) -> RelativePose:
        """The pose with its covariance, which is computed when it is asked for."""
        covariance = self._covariance(self.errors)
        alone = unit_relative_pose(self.T_prev_curr, self.errors.basis, covariance, self.source)
        if self.second is None:
            return alone
        other = self.second
        covariance = covariance + ambiguity_covariance(
            self.errors, other.T_prev_curr, self.second_probability
        )
        return replace(
            unit_relative_pose(self.T_prev_curr, self.errors.basis, covariance, self.source),
            hypotheses=(
                alone,
                unit_relative_pose(other.T_prev_curr, other.basis, self._covariance(other), self.source),
            ),
            second_probability=self.second_probability,
        )

    def _covariance(self, errors: EpipolarErrors) -> Array:
        """Covariance (5, 5) of one of the poses, if it is the true one."""
        independent_noise = errors.cameras.pixels(self.config.independent_noise)
        outliers = self.matches - self.inliers
        return pose_covariance(
            errors, self.noise, independent_noise, outliers, self.config.intrinsics_uncertainty
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """A pose, the errors of matches under it, and the standard deviation of its inliers' in pixels."""

    errors: EpipolarErrors
    noise: float


class EpipolarSolver:
    """Matches of two frames to the pose of the current in the previous camera frame.

    Args:
        source: name of the poses' estimator.
        config: settings.
    """

    def __init__(self, source: str, config: EpipolarConfig = EpipolarConfig()) -> None:
        self._source = source
        self._config = config

    def fit(self, previous: Frame, current: Frame, matches: Matches) -> EpipolarResult:
        """The pose that most matches agree on.

        Frames with the same ``frame_id`` come from one camera: errors of its calibration count once.

        Raises:
            EstimationError: too few matches, or too few of them agree on one motion.
        """
        if len(matches) < self._config.min_matches:
            raise EstimationError(
                f"not enough matches: {len(matches)}, at least {self._config.min_matches} are needed"
            )
        return self._refined_result(self._sampled(matches, CameraPair.of(previous, current)))

    def refine(self, T_prev_curr: Pose, previous: Frame, current: Frame, matches: Matches) -> EpipolarResult:
        """The pose near one of unit translation that most matches agree on.

        Raises:
            EstimationError: too few matches agree with the pose that is given, or with the one found.
        """
        cameras = CameraPair.of(previous, current)
        return self._refined_result(self._measured(EpipolarErrors(T_prev_curr, matches, cameras)))

    def judge(self, T_prev_curr: Pose, previous: Frame, current: Frame, matches: Matches) -> EpipolarResult:
        """A pose of unit translation as it is, with the covariance that follows from the errors of matches.

        Raises:
            EstimationError: too few matches agree with it.
        """
        fit = self._measured(EpipolarErrors(T_prev_curr, matches, CameraPair.of(previous, current)))
        threshold = fit.errors.cameras.pixels(self._config.threshold)
        errors = self._inliers(fit.errors, min(_INLIER_BAND * fit.noise, threshold))
        return self._result(_Fit(errors, fit.noise), len(matches))

    def _refined_result(self, start: _Fit) -> EpipolarResult:
        fit, second, probability = _settled(self._refined(start))
        return self._result(fit, len(start.errors.matches), second, probability)

    def _result(
        self, fit: _Fit, matches: int, second: EpipolarErrors | None = None, probability: float = 0.0
    ) -> EpipolarResult:
        return EpipolarResult(fit.errors, fit.noise, matches, second, probability, self._source, self._config)

    def _sampled(self, matches: Matches, cameras: CameraPair) -> _Fit:
        threshold = cameras.pixels(self._config.threshold)
        camera_pose, _ = poselib.estimate_relative_pose(
            np.asarray(matches.points_prev, dtype=np.float64),
            np.asarray(matches.points_curr, dtype=np.float64),
            _poselib_camera(cameras.previous),
            _poselib_camera(cameras.current),
            {
                "max_epipolar_error": threshold,
                "min_iterations": self._config.min_iterations,
                "max_iterations": self._config.max_iterations,
                "success_prob": self._config.success_probability,
                "seed": self._config.seed,
            },
            {},
        )
        return self._measured(EpipolarErrors(_from_poselib(camera_pose), matches, cameras))

    def _measured(self, every: EpipolarErrors) -> _Fit:
        """The errors of all matches under a pose, and the noise of those below the threshold."""
        threshold = every.cameras.pixels(self._config.threshold)
        return _Fit(every, self._noise(self._inliers(every, threshold).residuals, threshold, every.cameras))

    def _noise(self, residuals: Array, limit: float, cameras: CameraPair) -> float:
        """Standard deviation of residuals below ``limit``, within what is believed possible."""
        least, greatest = self._config.least_noise, self._config.threshold
        bounds = cameras.pixels(least), cameras.pixels(greatest)
        return float(np.clip(noise_scale(residuals, limit), *bounds))

    def _refined(self, sampled: _Fit) -> _Fit:
        """The fit to those of all matches that the noise, and not RANSAC's threshold, lets in."""
        matches, cameras = sampled.errors.matches, sampled.errors.cameras
        fit = sampled
        for _ in range(_REFINEMENTS):
            every = EpipolarErrors(fit.errors.T_prev_curr, matches, cameras)
            band = _INLIER_BAND * fit.noise
            minimised = _minimised(self._inliers(every, band), fit.noise)
            errors = self._inliers(minimised, band)
            fit = _Fit(errors, self._noise(errors.residuals, band, cameras))
        return fit

    def _inliers(self, errors: EpipolarErrors, limit: float) -> EpipolarErrors:
        """The errors below ``limit`` pixels of matches whose rays meet in front of the cameras.

        PoseLib's own inliers lack those whose rays noise lets diverge: half of them if the camera only turns.
        """
        greatest_noise = errors.cameras.pixels(self._config.threshold)
        inlier = (np.abs(errors.residuals) < limit) & errors.in_front(greatest_noise)
        count, total = int(np.count_nonzero(inlier)), len(inlier)
        if count < self._config.min_inliers:
            raise EstimationError(
                f"no consistent motion: {count} of {total} matches agree, "
                f"at least {self._config.min_inliers} are needed"
            )
        return EpipolarErrors(errors.T_prev_curr, errors.matches.chosen(inlier), errors.cameras)


def unit_relative_pose(T_prev_curr: Pose, basis: Array, covariance: Array, source: str) -> RelativePose:
    """A pose of unit translation with what is known of its rotation and direction.

    Args:
        T_prev_curr: translation of unit length.
        basis: (3, 2) orthonormal tangent directions at the translation.
        covariance: (5, 5) of the rotation about the previous camera's axes, then of the direction along the
            two columns of ``basis``, radians^2.
        source: name of the estimator.
    """
    expand = np.zeros((6, 5))
    expand[:3, 3:] = basis
    expand[3:, :3] = np.eye(3)
    translation = T_prev_curr.translation
    full = expand @ covariance @ expand.T
    full[:3, :3] += _LENGTH_VARIANCE * np.outer(translation, translation)
    return RelativePose(
        T_prev_curr=T_prev_curr,
        covariance=symmetrised(full),
        sigma_R=np.sqrt(np.diag(covariance)[:3]),
        sigma_t=float(np.sqrt(0.5 * np.trace(covariance[3:, 3:]))),
        metric=False,
        source=source,
    )


def _settled(fit: _Fit) -> tuple[_Fit, EpipolarErrors | None, float]:
    """The better of the two poses of a nearly planar scene, the other and the probability of the other."""
    first = fit.errors
    other = second_pose(first)
    if other is None:
        return fit, None, 0.0
    second = _minimised(EpipolarErrors(other, first.matches, first.cameras), fit.noise)
    probability = second_pose_probability(first, second, fit.noise)
    if probability > 0.5:
        first, second, probability = second, first, 1.0 - probability
    return _Fit(first, fit.noise), second, probability


def _minimised(errors: EpipolarErrors, noise: float) -> EpipolarErrors:
    """The errors after Levenberg-Marquardt on Cauchy's robust cost, from their pose on."""
    start = poselib.CameraPose()
    T_curr_prev = errors.T_prev_curr.inverse()
    start.R, start.t = T_curr_prev.rotation, T_curr_prev.translation
    camera_pose, _ = poselib.refine_relative_pose(
        errors.matches.points_prev,
        errors.matches.points_curr,
        start,
        _poselib_camera(errors.cameras.previous),
        _poselib_camera(errors.cameras.current),
        {"loss_type": "CAUCHY", "loss_scale": CAUCHY_SCALE * noise},
    )
    return EpipolarErrors(_from_poselib(camera_pose), errors.matches, errors.cameras)


def _from_poselib(camera_pose: poselib.CameraPose) -> Pose:
    """``T_prev_curr`` with unit translation from PoseLib's ``T_curr_prev``."""
    rotation, translation = np.asarray(camera_pose.R), np.asarray(camera_pose.t)
    length = float(np.linalg.norm(translation))
    if not np.all(np.isfinite(rotation)) or not np.isfinite(length) or length == 0.0:
        raise EstimationError("the matches lead to no finite pose: they may all lie on one point or line")
    return Pose(rotation, translation / length).inverse()


def _poselib_camera(intrinsics: Intrinsics) -> dict[str, object]:
    return {
        "model": "PINHOLE",
        "width": intrinsics.width,
        "height": intrinsics.height,
        "params": [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy],
    }

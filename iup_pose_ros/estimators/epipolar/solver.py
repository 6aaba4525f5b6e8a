"""Relative pose with covariance from point matches, and the covariance of a given pose.

The pose is estimated by PoseLib (LO-RANSAC and non-linear refinement), its covariance by ``covariance``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    shutter_covariance,
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
# The length of the translation is fixed; a small variance keeps the covariance positive definite.
_LENGTH_VARIANCE = 1e-6


@dataclass(frozen=True)
class EpipolarConfig:
    """Settings of the robust estimation. Pixels refer to an image whose longer side has 640 pixels.

    Attributes:
        threshold: maximum Sampson error of an inlier in RANSAC, pixels.
        min_noise: minimum standard deviation of the errors, pixels.
        independent_noise: maximum standard deviation of errors that are independent between matches, pixels;
            larger errors are assumed to be correlated between neighbours.
        min_matches: minimum number of matches.
        min_inliers: minimum number of inliers.
        min_iterations: minimum number of RANSAC iterations.
        max_iterations: maximum number of RANSAC iterations.
        success_probability: probability of an outlier-free sample at which RANSAC stops.
        seed: random seed of RANSAC; results are deterministic.
        intrinsics_uncertainty: uncertainty of the camera calibration, which the covariance includes.
    """

    threshold: float = 1.0
    min_noise: float = 0.05
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
    """A pose estimated from matches, with its inliers.

    Attributes:
        errors: errors of the inliers under the pose.
        noise: standard deviation of these errors, pixels.
        matches: number of all matches.
        second: errors of the inliers under the second solution of a nearly planar scene; None if there is
            none.
        second_probability: probability that the second solution is the true pose.
        source: name of the estimator.
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
        """Return the pose, with unit translation."""
        return self.errors.T_prev_curr

    @property
    def inlier_matches(self) -> Matches:
        """Return the inlier matches."""
        return self.errors.matches

    @property
    def inliers(self) -> int:
        """Return the number of inliers."""
        return len(self.inlier_matches)

    @cached_property
    def pose(self) -> RelativePose:
        """Return the pose with its covariance, which is computed on first access."""
        return self._with_covariances(self._covariances)

    @property
    def pose_of_any_shutter(self) -> RelativePose:
        """Return the pose with a covariance that includes the errors of a rolling shutter."""
        further = [shutter_covariance(errors, self.noise) for errors in self._solutions]
        return self._with_covariances(
            [own + more for own, more in zip(self._covariances, further, strict=True)]
        )

    @property
    def _solutions(self) -> list[EpipolarErrors]:
        return [self.errors] if self.second is None else [self.errors, self.second]

    @cached_property
    def _covariances(self) -> list[Array]:
        return [self._covariance(errors) for errors in self._solutions]

    def _with_covariances(self, covariances: Sequence[Array]) -> RelativePose:
        """Return the pose, given the covariance (5, 5) that each solution has if it is the true pose."""
        alone, *others = (
            unit_relative_pose(errors.T_prev_curr, errors.basis, covariance, self.source)
            for errors, covariance in zip(self._solutions, covariances, strict=True)
        )
        if not others:
            return alone
        ambiguity = ambiguity_covariance(self.errors, others[0].T_prev_curr, self.second_probability)
        return replace(
            unit_relative_pose(self.T_prev_curr, self.errors.basis, covariances[0] + ambiguity, self.source),
            hypotheses=(alone, *others),
            second_probability=self.second_probability,
        )

    def _covariance(self, errors: EpipolarErrors) -> Array:
        """Return the covariance (5, 5) of one of the two solutions, provided that it is the true pose."""
        independent_noise = errors.cameras.pixels(self.config.independent_noise)
        outliers = self.matches - self.inliers
        return pose_covariance(
            errors, self.noise, independent_noise, outliers, self.config.intrinsics_uncertainty
        )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Errors of matches under a pose, and the standard deviation of the inliers' errors in pixels."""

    errors: EpipolarErrors
    noise: float


class EpipolarSolver:
    """Estimates the pose of the current camera in the previous camera frame from matches.

    Frames with equal ``frame_id`` are from the same camera: the errors of its calibration are common to both.

    Args:
        source: name of the estimator, stored in its poses.
        config: settings.
    """

    def __init__(self, source: str, config: EpipolarConfig = EpipolarConfig()) -> None:
        self._source = source
        self._config = config

    def fit(self, previous: Frame, current: Frame, matches: Matches) -> EpipolarResult:
        """Estimate the pose by RANSAC and refinement.

        Raises:
            EstimationError: there are too few matches or too few inliers.
        """
        if len(matches) < self._config.min_matches:
            raise EstimationError(
                f"not enough matches: {len(matches)}, at least {self._config.min_matches} are required"
            )
        return self._refine(self._ransac(matches, CameraPair.of(previous, current)))

    def refine(self, T_prev_curr: Pose, previous: Frame, current: Frame, matches: Matches) -> EpipolarResult:
        """Refine a given pose of unit translation.

        Raises:
            EstimationError: the given or the refined pose has too few inliers.
        """
        cameras = CameraPair.of(previous, current)
        return self._refine(self._with_noise(EpipolarErrors(T_prev_curr, matches, cameras)))

    def covariance_at(
        self, T_prev_curr: Pose, previous: Frame, current: Frame, matches: Matches
    ) -> EpipolarResult:
        """Compute the covariance of a given pose of unit translation from the errors of matches.

        Raises:
            EstimationError: the pose has too few inliers.
        """
        fit = self._with_noise(EpipolarErrors(T_prev_curr, matches, CameraPair.of(previous, current)))
        threshold = fit.errors.cameras.pixels(self._config.threshold)
        errors = self._inliers(fit.errors, min(_INLIER_BAND * fit.noise, threshold))
        return self._result(_Fit(errors, fit.noise), len(matches))

    def _refine(self, start: _Fit) -> EpipolarResult:
        """Refine a pose on the inliers by the level of noise instead of RANSAC's threshold."""
        matches, cameras = start.errors.matches, start.errors.cameras
        fit = start
        for _ in range(_REFINEMENTS):
            every = EpipolarErrors(fit.errors.T_prev_curr, matches, cameras)
            band = _INLIER_BAND * fit.noise
            minimised = _minimise(self._inliers(every, band), fit.noise)
            errors = self._inliers(minimised, band)
            fit = _Fit(errors, self._noise(errors.residuals, band, cameras))
        fit, second, probability = choose_planar_solution(fit)
        return self._result(fit, len(matches), second, probability)

    def _result(
        self, fit: _Fit, matches: int, second: EpipolarErrors | None = None, probability: float = 0.0
    ) -> EpipolarResult:
        return EpipolarResult(fit.errors, fit.noise, matches, second, probability, self._source, self._config)

    def _ransac(self, matches: Matches, cameras: CameraPair) -> _Fit:
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
        return self._with_noise(EpipolarErrors(_from_poselib(camera_pose), matches, cameras))

    def _with_noise(self, every: EpipolarErrors) -> _Fit:
        """Add the standard deviation of the inliers' errors, by RANSAC's threshold, to the errors of all."""
        threshold = every.cameras.pixels(self._config.threshold)
        return _Fit(every, self._noise(self._inliers(every, threshold).residuals, threshold, every.cameras))

    def _noise(self, residuals: Array, limit: float, cameras: CameraPair) -> float:
        """Return the standard deviation of residuals below ``limit``, clipped to the configured range."""
        bounds = cameras.pixels(self._config.min_noise), cameras.pixels(self._config.threshold)
        return float(np.clip(noise_scale(residuals, limit), *bounds))

    def _inliers(self, errors: EpipolarErrors, limit: float) -> EpipolarErrors:
        """Select the inliers with residuals below ``limit`` pixels; raise EstimationError if too few."""
        inlier = errors.inliers(limit, errors.cameras.pixels(self._config.threshold))
        count, total = int(np.count_nonzero(inlier)), len(inlier)
        if count < self._config.min_inliers:
            raise EstimationError(
                f"no consistent motion: {count} of {total} matches are inliers, "
                f"at least {self._config.min_inliers} are required"
            )
        return EpipolarErrors(errors.T_prev_curr, errors.matches.chosen(inlier), errors.cameras)


def unit_relative_pose(T_prev_curr: Pose, basis: Array, covariance: Array, source: str) -> RelativePose:
    """Create a relative pose of unit translation from the covariance of rotation and direction.

    Args:
        T_prev_curr: pose with unit translation.
        basis: (3, 2) orthonormal tangent basis at the translation.
        covariance: (5, 5), radians^2: rotation about the previous camera's axes, then direction along the two
            columns of ``basis``.
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


def choose_planar_solution(fit: _Fit) -> tuple[_Fit, EpipolarErrors | None, float]:
    """Return the more probable solution of a nearly planar scene, the other one and its probability."""
    first = fit.errors
    other = second_pose(first)
    if other is None:
        return fit, None, 0.0
    second = _minimise(EpipolarErrors(other, first.matches, first.cameras), fit.noise)
    probability = second_pose_probability(first, second, fit.noise)
    if probability > 0.5:
        first, second, probability = second, first, 1.0 - probability
    return _Fit(first, fit.noise), second, probability


def _minimise(errors: EpipolarErrors, noise: float) -> EpipolarErrors:
    """Minimise the Cauchy loss of the errors by Levenberg-Marquardt, starting at their pose."""
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
    """Convert PoseLib's ``T_curr_prev`` to ``T_prev_curr`` with unit translation."""
    rotation, translation = np.asarray(camera_pose.R), np.asarray(camera_pose.t)
    length = float(np.linalg.norm(translation))
    if not np.all(np.isfinite(rotation)) or not np.isfinite(length) or length == 0.0:
        raise EstimationError(
            "the matches do not determine a finite pose; they may be collinear or coincident"
        )
    return Pose(rotation, translation / length).inverse()


def _poselib_camera(intrinsics: Intrinsics) -> dict[str, object]:
    return {
        "model": "PINHOLE",
        "width": intrinsics.width,
        "height": intrinsics.height,
        "params": [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy],
    }

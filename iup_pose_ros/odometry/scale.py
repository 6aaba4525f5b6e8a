"""Where the length of a step comes from."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from iup_pose_ros.estimators.base import RelativePose
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry.config import OdometryConfig
from iup_pose_ros.odometry.depths import (
    InverseDepths,
    pose_jacobian,
    step_length,
    translation_from_depths,
)
from iup_pose_ros.odometry.steps import (
    Length,
    ScaledStep,
    step_along,
    step_from_translation,
    turn_without_step,
)
from iup_pose_ros.odometry.two_view import (
    FEWEST_TRACKS,
    SIGNIFICANT_PARALLAX,
    Observation,
    TrackedRays,
    observe,
    step_depths,
)

# Relative standard deviations of a length: at best, when the last speed is held, when it is configured.
_BEST = 0.01
_HELD = 0.5
_FIXED = 0.1


class ScaleSource(Protocol):
    """Gives the steps their lengths."""

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """The step with its length; ``interval`` is its duration in seconds."""

    def unseen(self, shift: float) -> float:
        """Length of a translation that moves the median track by ``shift``, a fraction of the image width."""


def scale_source(config: OdometryConfig) -> ScaleSource:
    """The source that the settings name."""
    if config.scale_source == "fixed":
        return FixedScale(config)
    return RelativeScale(config)


class FixedScale:
    """Every step has the configured length in metres."""

    def __init__(self, config: OdometryConfig) -> None:
        self._length = config.fixed_step_length
        self._keyframe_parallax = config.keyframe_parallax

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """See ScaleSource.step; without parallax a step is nought, plus or minus its length."""
        seen = observe(rays, relative.T_prev_curr)
        if not seen.shows_direction:
            nought = Length(0.0, self._length, "fixed (rotation only)", metric=True)
            return turn_without_step(relative, nought, seen.steady)
        length = Length(self._length, _FIXED * self._length, "fixed", metric=True)
        return step_along(relative, length, seen.agreeing)

    def unseen(self, shift: float) -> float:
        """See ScaleSource.unseen; a step makes about the keyframe parallax."""
        return self._length * shift / self._keyframe_parallax


class RelativeScale:
    """The first step has length 1; later ones follow from tracks shared by consecutive pairs of keyframes."""

    def __init__(self, config: OdometryConfig) -> None:
        self._depths = InverseDepths.none()
        self._speed: float | None = None
        # How far a translation of one unit moves the median track, as a fraction of the image width. The
        # first step has length 1 and makes at least the keyframe parallax.
        self._shift_per_unit = config.keyframe_parallax

    def unseen(self, shift: float) -> float:
        """See ScaleSource.unseen."""
        return shift / self._shift_per_unit

    def step(self, relative: RelativePose, rays: TrackedRays, interval: float) -> ScaledStep:
        """See ScaleSource.step."""
        seen = observe(rays, relative.T_prev_curr)
        known = self._depths.of(rays.ids)
        if seen.shows_direction:
            length = self._length(relative, rays, known, seen, interval)
            step = step_along(relative, length, seen.agreeing)
            self._learn(rays, known, seen, step.camera.pose, interval)
        else:
            step = self._turn(relative, rays, known, seen)
            self._depths = known.moved(rays.previous, step.camera.pose)
        return step

    def _length(
        self,
        relative: RelativePose,
        rays: TrackedRays,
        known: InverseDepths,
        seen: Observation,
        interval: float,
    ) -> Length:
        """One for the first step, then by the tracks or, where they do not tell, by the last speed."""
        if self._speed is None:
            return Length(1.0, _BEST, "relative")
        measured = _measured_length(relative.T_prev_curr, rays, known, seen)
        if measured is not None:
            return measured
        held = self._speed * interval
        return Length(held, _HELD * held, "relative (held)")

    def _turn(
        self, relative: RelativePose, rays: TrackedRays, known: InverseDepths, seen: Observation
    ) -> ScaledStep:
        """A step whose direction the image motion does not show, though known depths still may."""
        rows = seen.steady & (known.information > 0.0)
        if np.count_nonzero(rows) < FEWEST_TRACKS:
            sigma = self.unseen(SIGNIFICANT_PARALLAX * seen.noise / rays.width)
            return turn_without_step(relative, Length(0.0, sigma, "relative (rotation only)"), seen.steady)
        translation, covariance = translation_from_depths(
            rays,
            relative.T_prev_curr.rotation,
            relative.covariance[3:, 3:],
            known.trusted(rows),
            seen.noise,
        )
        source = "relative (known depths)"
        return step_from_translation(relative, translation, covariance, source, seen.steady)

    def _learn(
        self, rays: TrackedRays, known: InverseDepths, seen: Observation, pose: Pose, interval: float
    ) -> None:
        """Takes the depths and the speed that a step of known length shows."""
        length = float(np.linalg.norm(pose.translation))
        self._speed = length / interval
        information = np.where(seen.agreeing, length**2 / seen.variance, 0.0)
        fused = known.trusted(seen.agreeing).fused(seen.depths.inverse / length, information)
        self._depths = fused.moved(rays.previous, pose)
        visible = self._depths.inverse[(self._depths.information > 0.0) & (self._depths.inverse > 0.0)]
        if len(visible) > 0:
            self._shift_per_unit = float(np.median(visible)) * rays.focal / rays.width


def _measured_length(
    T_prev_curr: Pose, rays: TrackedRays, known: InverseDepths, seen: Observation
) -> Length | None:
    """Length by tracks of known depth; None where they are too few or contradictory."""
    rows = seen.agreeing & (known.information > 0.0)
    if np.count_nonzero(rows) < FEWEST_TRACKS:
        return None
    found = step_length(seen.depths.inverse[rows], seen.variance[rows], known.rows(rows))
    # Written so that a length that is no number fails, too.
    if not found.sigma <= _HELD * found.length:
        return None
    weights = np.zeros(len(rays))
    weights[rows] = found.weights
    jacobian = pose_jacobian(weights, lambda pose: step_depths(rays, pose), T_prev_curr, seen.depths)
    return Length(found.length, max(found.sigma, _BEST * found.length), "relative", jacobian=jacobian)

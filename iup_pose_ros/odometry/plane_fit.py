"""Planes through tracks, given by their inverse depths in steps: surfaces in general and the ground."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iup_pose_ros.geometry.so3 import Array
from iup_pose_ros.odometry.depths import robust_weight
from iup_pose_ros.odometry.track_geometry import MIN_TRACKS

# A track agrees within this many standard deviations; minimum share of tracks that agree.
DEVIATIONS = 3.0
MIN_AGREEING = 0.5
# Tracks whose depth in steps is less certain than this share agree with many planes and do not count.
CERTAIN = 0.2
# Relative residual of tracks on a plane: real surfaces are not exactly plane.
_ROUGHNESS = 0.01
# Search for the ground: step of the inclination, radians, and number of planes per inclination.
_GRID = 0.02
_SAMPLES = 40
_ITERATIONS = 10


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through tracks: mu = normal . ray with mu the inverse depth in steps.

    Attributes:
        normal: (3,) unit normal times step length over distance of the plane.
        covariance: (3, 3) of ``normal``.
        weights: (3, N) derivative of ``normal`` by the tracks' inverse depths.
        agreeing: share of the tracks within three standard deviations.
    """

    normal: Array
    covariance: Array
    weights: Array
    agreeing: float

    def inclination(self, expected: Array) -> float:
        """Return by how much the plane is certainly inclined to an expected unit normal, radians."""
        size = float(np.linalg.norm(self.normal))
        across = self.normal - (self.normal @ expected) * expected
        angle = float(np.arctan2(np.linalg.norm(across), self.normal @ expected))
        axis = across / max(float(np.linalg.norm(across)), 1e-12)
        sigma = float(np.sqrt(axis @ self.covariance @ axis)) / size
        return max(angle - DEVIATIONS * sigma, 0.0)


def fit_plane(points: Array, mu: Array, variance: Array, expected: Array, tilt: float) -> Plane:
    """Fit a plane to the inverse depths in steps of tracks, robustly.

    Args:
        points: (N, 3) rays of the tracks, z = 1.
        mu: (N,) inverse depths in steps.
        variance: (N,) their variances.
        expected: (3,) expected unit normal.
        tilt: standard deviation of the inclination to the expected normal, radians.
    """
    normal = expected * float(np.median(mu / np.maximum(points @ expected, 1e-3)))
    across = np.eye(3) - np.outer(expected, expected)
    prior = across / (tilt * max(float(np.linalg.norm(normal)), 1e-12)) ** 2
    for _ in range(_ITERATIONS):
        fitted = points @ normal
        # Not the share of mu itself: points that are too far away by chance would then count more.
        total = variance + (_ROUGHNESS * fitted) ** 2
        error = mu - fitted
        weight = robust_weight(error**2 / total) / total
        information = (points * weight[:, None]).T @ points + prior
        weights = np.linalg.solve(information, (points * weight[:, None]).T)
        normal = weights @ mu
    error = mu - points @ normal
    spread = float(np.average(error**2 / total, weights=weight * total))
    agreeing = float(np.mean(error**2 < DEVIATIONS**2 * total))
    covariance = np.asarray(max(1.0, spread) * np.linalg.inv(information), dtype=np.float64)
    return Plane(normal, covariance, np.asarray(weights, dtype=np.float64), agreeing)


def ground_rows(points: Array, mu: Array, variance: Array, down: Array) -> NDArray[np.bool_] | None:
    """Return the tracks (N,) on the plane that fits most of them and is hardly inclined to the ground.

    Planes through single tracks, inclined in steps of a grid about both horizontal axes, are compared by
    their truncated squared errors.

    Args:
        points: (N, 3) rays of the tracks, z = 1.
        mu: (N,) inverse depths in steps.
        variance: (N,) their variances.
        down: (3,) unit normal of the ground.

    Returns:
        None if the plane holds less than half of the tracks whose depth is certain, or too few.
    """
    certain = np.sqrt(variance) < CERTAIN * np.abs(mu)
    if np.count_nonzero(certain) < MIN_TRACKS:
        return None
    across = np.linalg.svd(down[None])[2][1:]
    samples = np.linspace(0, np.count_nonzero(certain) - 1, _SAMPLES).astype(np.int64)
    best, best_score = certain, -1.0
    for inclination in itertools.product(_GRID * np.arange(-2, 3), repeat=2):
        drop = points @ (down + inclination @ across)
        sizes = np.sort((mu / np.maximum(drop, 1e-3))[certain])[samples][:, None]
        allowed = DEVIATIONS * np.sqrt(variance + (0.5 * _GRID * sizes) ** 2 / 2.0)
        gain = np.maximum(1.0 - ((mu - sizes * drop) / allowed) ** 2, 0.0)
        scores = gain[:, certain].sum(axis=1)
        if scores.max() > best_score:
            best, best_score = gain[int(scores.argmax())] > 0.0, float(scores.max())
    chosen = np.count_nonzero(best & certain)
    return best if chosen >= max(MIN_TRACKS, MIN_AGREEING * np.count_nonzero(certain)) else None

"""Every term of the covariances of motions by a motion prior, each where it dominates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from odometry_scenes import pose

from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry import WheelHistory
from iup_pose_ros.odometry.motion_prior import Bridge, GyroPrior, OdometryPrior, PriorMotion
from iup_pose_ros.odometry.scaled_step import HELD_LENGTH, ScaledStep
from iup_pose_ros.odometry.wheels import GyroHistory

Array = NDArray[np.float64]

UNLIMITED = np.full(6, 1e12)


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


@pytest.mark.parametrize(
    ("length", "turn", "rate_variance", "linear", "angular"),
    [
        (0.0, 0.0, 0.0, 0.003**2, 0.002**2),
        (2.0, 0.0, 0.0, 0.003**2 + 0.06**2, 0.002**2),
        (0.0, 0.5, 0.0, 0.003**2, 0.002**2 + 0.015**2),
        (0.0, 0.0, 0.04, 0.01, 0.01),
    ],
)
def test_variances_of_odometry(length, turn, rate_variance, linear, angular):
    history = WheelHistory()
    history.rate_variances = np.full(6, rate_variance)
    history.add(0, Pose.identity())
    history.add(nanoseconds(0.5), pose(length, turn=(0.0, 0.0, turn)))
    motion = OdometryPrior(history, nanoseconds).between(0.0, 0.5)
    np.testing.assert_allclose(motion.variances, np.repeat([linear, angular], 3))


@pytest.mark.parametrize(
    ("turn", "rate_variance", "angular"),
    [
        (0.0, 0.0, 0.001**2 + 0.005**2),
        (0.5, 0.0, 0.001**2 + 0.005**2 + 0.01**2),
        (0.0, 0.04, 0.01),
    ],
)
def test_variances_of_a_gyroscope(turn, rate_variance, angular):
    history = GyroHistory()
    history.rate_variances = np.array([0.0, 0.0, 0.0, rate_variance, 0.0, 0.0])
    for time in np.linspace(0.0, 0.5, 11):
        history.add_rate(nanoseconds(time), np.array([0.0, 0.0, 2.0 * turn]))
    motion = GyroPrior(history, nanoseconds, Pose.identity).between(0.0, 0.5)
    np.testing.assert_allclose(motion.variances, np.repeat([np.inf, angular], 3), rtol=1e-6)


class Prior:
    """A motion prior that always returns the same motion."""

    def __init__(self, moved: Pose, variances: Array) -> None:
        self.motion = PriorMotion(moved, variances)

    def between(self, start: float, end: float) -> PriorMotion:
        """See MotionPrior.between."""
        return self.motion


def bridge_of(prior: Prior, lengths: list[float], metric: bool) -> Bridge:
    """A bridge after steps of the camera of these lengths."""
    bridge = Bridge(prior, Pose.identity())
    for length in lengths:
        camera = PoseWithCovariance.exact(pose(length))
        bridge.learn(ScaledStep(camera, 0.01, metric, "", np.ones(0, dtype=np.bool_)), 0.0, 1.0)
    return bridge


def variances_of(bridge: Bridge, unobserved: Array = UNLIMITED) -> Array:
    motion = bridge.motion(0.0, 1.0, unobserved)
    assert motion is not None
    return np.diag(motion.covariance)


def test_error_of_the_mount_turns_a_bridged_motion():
    own = np.repeat([1e-4, 4e-6], 3)
    straight = variances_of(bridge_of(Prior(pose(2.0), own), [2.0], metric=True))
    np.testing.assert_allclose(straight, own + np.repeat([0.04**2, 0.0], 3))
    turning = variances_of(bridge_of(Prior(pose(turn=(0.0, 0.0, 0.5)), own), [2.0], metric=True))
    np.testing.assert_allclose(turning, own + np.repeat([0.0, 0.01**2], 3))


def test_unit_of_a_bridged_motion_is_uncertain():
    prior = Prior(pose(2.0), np.repeat([1e-4, 4e-6], 3))
    # Two units per metre, four in the step; the deviation of the unit is 3 % at least.
    variances = variances_of(bridge_of(prior, [4.0] * 5, metric=False))
    np.testing.assert_allclose(variances[:3], 4e-4 + (0.02**2 + 0.03**2) * 4.0**2)
    scattered = list(4.0 * np.exp([-0.1, 0.1, 0.0, -0.1, 0.1]))
    variances = variances_of(bridge_of(prior, scattered, metric=False))
    np.testing.assert_allclose(variances[:3], 4e-4 + (0.02**2 + 0.14826**2) * 4.0**2)


def test_a_bridged_motion_is_no_less_certain_than_an_unobserved_one():
    unobserved = np.repeat([0.25, 0.01], 3)
    huge = Prior(pose(2.0, turn=(0.0, 0.0, 0.5)), np.full(6, 1e6))
    variances = variances_of(bridge_of(huge, [2.0], metric=True), unobserved)
    np.testing.assert_allclose(variances, unobserved + np.repeat([2.0**2, 0.5**2], 3))
    rotation_only = Prior(pose(turn=(0.0, 0.0, 0.5)), np.repeat([np.inf, 4e-6], 3))
    variances = variances_of(bridge_of(rotation_only, [2.0], metric=True), unobserved)
    np.testing.assert_allclose(variances, np.repeat([0.25, 4e-6 + 0.01**2], 3))


def test_a_held_length_begins_a_new_unit():
    bridge = bridge_of(Prior(pose(2.0), np.repeat([1e-4, 4e-6], 3)), [4.0] * 5, metric=False)
    camera = PoseWithCovariance.exact(pose(4.0))
    held = ScaledStep(camera, 0.01, False, f"relative {HELD_LENGTH}", np.ones(0, dtype=np.bool_))
    bridge.learn(held, 0.0, 1.0)
    np.testing.assert_allclose(variances_of(bridge, np.repeat([0.25, 0.01], 3))[:3], 0.25)

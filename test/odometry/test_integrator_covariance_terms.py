"""Every term of the accumulated covariance, of gaps and of twists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from odometry_scenes import deviations, pose

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import PoseWithCovariance
from iup_pose_ros.odometry.integrator import Integrator, mean_twist, zero_twist

Array = NDArray[np.float64]


def moving(integrator: Integrator, speeds: list[float], turns: list[float]) -> None:
    for second, (speed, turn) in enumerate(zip(speeds, turns, strict=True)):
        motion = PoseWithCovariance(pose(speed, turn=(0.0, 0.0, turn)), np.zeros((6, 6)))
        integrator.advance(motion, float(second), second + 1.0)


def gap_deviations(integrator: Integrator, since: float, gap: float) -> Array:
    before = integrator.pose.covariance
    integrator.rest(since + gap, since + gap)
    return np.sqrt(np.diag(integrator.pose.covariance - before))


def test_a_gap_is_as_wide_as_the_smoothed_speed_covers():
    integrator = Integrator()
    moving(integrator, [1.0, 2.0, 0.5], [0.1, 0.3, 0.0])
    # The first step alone, then three tenths of every new one.
    speed = 0.7 * (0.7 * 1.0 + 0.3 * 2.0) + 0.3 * 0.5
    turn = 0.7 * (0.7 * 0.1 + 0.3 * 0.3)
    found = gap_deviations(integrator, 3.0, 2.0)
    np.testing.assert_allclose(found, np.repeat([2.0 * speed, 2.0 * turn], 3), rtol=1e-6)


def test_a_gap_turns_by_half_a_turn_at_most_and_moves_without_limit():
    integrator = Integrator()
    moving(integrator, [1.0], [1.0])
    np.testing.assert_allclose(gap_deviations(integrator, 1.0, 3.0)[3:], 3.0, rtol=1e-6)
    integrator = Integrator()
    moving(integrator, [1.0], [1.0])
    found = gap_deviations(integrator, 1.0, 100.0)
    np.testing.assert_allclose(found, np.repeat([100.0, np.pi], 3), rtol=1e-6)


def test_before_a_speed_is_known_a_gap_is_bridged_with_one_unit_and_half_a_radian_per_second():
    integrator = Integrator()
    integrator.rest(0.0, 0.0)
    np.testing.assert_allclose(gap_deviations(integrator, 0.0, 2.0), np.repeat([2.0, 1.0], 3), rtol=1e-6)


def test_the_origin_has_a_nominal_covariance():
    np.testing.assert_allclose(Integrator().pose.covariance, 1e-12 * np.eye(6))


def test_covariance_of_a_twist_is_that_of_the_step_per_squared_second_in_axes_halfway():
    root = np.random.default_rng(5).normal(size=(6, 6))
    covariance = 1e-4 * root @ root.T
    turn = np.array([0.2, -0.4, 0.6])
    twist = mean_twist(PoseWithCovariance(pose(1.0, turn=tuple(turn)), covariance), 0.5)
    axes = np.kron(np.eye(2), so3.exp(-0.5 * turn))
    np.testing.assert_allclose(twist.covariance, axes @ covariance @ axes.T / 0.25, atol=1e-12)


def test_a_twist_at_rest_has_the_given_deviations():
    np.testing.assert_allclose(deviations(zero_twist(0.1, 0.02).covariance), np.repeat([0.1, 0.02], 3))

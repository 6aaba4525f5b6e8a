from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odometry_scenes import pose, positive_definite

from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.odometry.integrator import Integrator, mean_twist, zero_twist

COVARIANCE = np.diag([1e-4, 1e-4, 4e-4, 1e-6, 1e-6, 1e-6])
vectors = st.tuples(*[st.floats(-1.0, 1.0)] * 3).map(np.array)


def step(x: float = 1.0, turn: tuple[float, float, float] = (0.0, 0.0, 0.1)) -> PoseWithCovariance:
    return PoseWithCovariance(pose(x, turn=turn), COVARIANCE)


def test_steps_are_chained_and_uncertainty_grows():
    integrator = Integrator()
    traces = [np.trace(integrator.pose.covariance)]
    for k in range(10):
        integrator.advance(step(), k, k + 1.0)
        traces.append(np.trace(integrator.pose.covariance))
    expected = Pose.identity()
    for _ in range(10):
        expected = expected @ step().pose
    np.testing.assert_allclose(integrator.pose.pose.matrix, expected.matrix, atol=1e-9)
    assert np.all(np.diff(traces) > 0.0)


def test_gap_keeps_the_pose_and_adds_what_the_last_speed_covers():
    integrator = Integrator()
    integrator.advance(step(2.0), 0.0, 1.0)
    before = integrator.pose
    integrator.rest(4.0, 4.1)
    np.testing.assert_allclose(integrator.pose.pose.matrix, before.pose.matrix, atol=1e-15)
    added = integrator.pose.covariance - before.covariance
    np.testing.assert_allclose(np.sqrt(np.diag(added)[:3]), 2.0 * 3.0, rtol=0.01)
    np.testing.assert_allclose(np.sqrt(np.diag(added)[3:]), 0.1 * 3.0, rtol=0.01)


def test_time_at_rest_adds_nothing():
    integrator = Integrator()
    integrator.advance(step(), 0.0, 1.0)
    before = integrator.pose.covariance
    for k in range(1, 10):
        integrator.rest(float(k), k + 1.0)
    np.testing.assert_array_equal(integrator.pose.covariance, before)


def test_gap_before_anything_was_reported_adds_nothing():
    integrator = Integrator()
    integrator.advance(step(), 100.0, 101.0)
    np.testing.assert_allclose(integrator.pose.covariance, COVARIANCE, rtol=1e-3, atol=1e-9)


def test_clock_set_back_is_a_short_gap():
    integrator = Integrator()
    integrator.advance(step(), 1e9, 1e9 + 1.0)
    integrator.restart_clock(5.0, 1.0)
    integrator.advance(step(), 5.0, 6.0)
    assert np.sqrt(integrator.pose.covariance[0, 0]) == pytest.approx(1.0, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(vectors, vectors.map(lambda v: 0.4 * v), st.floats(0.01, 2.0))
def test_twist_held_for_its_interval_makes_the_step(velocity, rate, interval):
    """Integrates the twist in many small steps as the oracle."""
    count = 200
    small = Pose(so3.exp(rate / count), velocity / count)
    total = Pose.identity()
    for _ in range(count):
        total = total @ small
    twist = mean_twist(PoseWithCovariance(total, COVARIANCE), interval)
    np.testing.assert_allclose(twist.linear * interval, velocity, atol=0.03)
    np.testing.assert_allclose(twist.angular * interval, rate, atol=1e-6)
    assert np.trace(twist.covariance) == pytest.approx(np.trace(COVARIANCE) / interval**2)
    assert positive_definite(twist.covariance)


def test_twist_of_rest_is_zero_with_positive_variance():
    twist = zero_twist(0.1, 0.01)
    assert not twist.linear.any()
    assert not twist.angular.any()
    assert positive_definite(twist.covariance)

"""While vo_node is LOST the wheels carry the filter: its model and noise, simulated with a loss of 12 s."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from launch_standins import ROOT
from test_ekf_process_noise import AXES, RATE, RUNS, SENSOR_PERIOD, process_noise, wandering

LOST = range(int(20 * RATE), int(32 * RATE))
CAMERA = {"x": 0.03, "yaw": 0.01}  # deviations of the velocities, m/s and rad/s
WHEELS = {"x": 0.05, "yaw": 0.2}
SPEEDS = {"x": 0.5, "yaw": 0.3}


def errors_at_the_end_of_a_loss(axis: str, with_wheels: bool, useless_twists: bool = False) -> tuple:
    """Errors of the position (runs,) and of the filter's deviation; its last velocity was not zero.

    Args:
        axis: x or yaw.
        with_wheels: whether wheel odometry is fused.
        useless_twists: whether vo_node sends zero twists of huge variance while LOST.
    """
    rng = np.random.default_rng(5)
    position, speed = AXES[axis]
    noise = process_noise("ekf_metric.yaml")[np.ix_((position, speed), (position, speed))]
    velocity, step = wandering(rng, SPEEDS[axis], 1.0), 1.0 / RATE
    model, covariance = np.array([[1.0, step], [0.0, 1.0]]), np.diag([1e-9, 1e-9])
    state = np.zeros((2, RUNS))

    def fuse(seen: np.ndarray, variance: float) -> None:
        nonlocal state, covariance
        gain = covariance[:, 1] / (covariance[1, 1] + variance)
        state = state + gain[:, None] * (seen - state[1])
        covariance = covariance - np.outer(gain, covariance[1])

    for index in range(1, LOST[-1] + 1):
        state, covariance = model @ state, model @ covariance @ model.T + step * noise
        if with_wheels:
            fuse(velocity[:, index] + WHEELS[axis] * rng.normal(size=RUNS), WHEELS[axis] ** 2)
        if index % SENSOR_PERIOD == 0 and index not in LOST:
            fuse(velocity[:, index] + CAMERA[axis] * rng.normal(size=RUNS), CAMERA[axis] ** 2)
        elif index % SENSOR_PERIOD == 0 and useless_twists:
            fuse(np.zeros(RUNS), 1e12)
    true = velocity[:, 1 : LOST[-1] + 1].sum(axis=1) * step
    return state[0] - true, float(np.sqrt(covariance[0, 0]))


def test_configuration_fuses_the_wheels_velocities():
    content = yaml.safe_load((ROOT / "config" / "ekf_metric.yaml").read_text())["/**"]["ros__parameters"]
    assert content["odom0"] == "wheel_odometry"
    assert np.flatnonzero(content["odom0_config"]).tolist() == [6, 7, 11]


@pytest.mark.parametrize(("axis", "limit"), [("x", 0.1), ("yaw", 0.3)])
def test_wheels_keep_the_position_through_a_loss_and_the_deviation_is_right(axis: str, limit: float):
    wrong, deviation = errors_at_the_end_of_a_loss(axis, with_wheels=True)
    alone, alone_deviation = errors_at_the_end_of_a_loss(axis, with_wheels=False)
    assert np.std(wrong) < limit * np.std(alone)
    assert 0.5 < np.mean((wrong / deviation) ** 2) < 2.0
    assert np.mean((alone / alone_deviation) ** 2) < 2.0


def test_twist_of_huge_covariance_adds_nothing():
    silent = errors_at_the_end_of_a_loss("x", with_wheels=True)
    useless = errors_at_the_end_of_a_loss("x", with_wheels=True, useless_twists=True)
    np.testing.assert_allclose(useless[0], silent[0], atol=1e-6)
    assert useless[1] == pytest.approx(silent[1], abs=1e-6)

"""The filter's deviations are those of its errors: its own model, state and noise, simulated for a minute.

While vo_node is LOST the wheels carry the filter: the same with a loss of 12 s.
"""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from launch_standins import ROOT

FILES = ("ekf_metric.yaml", "ekf_rotation_only.yaml")
# Position and velocity of one axis in robot_localization's state of 15.
AXES = {"x": (0, 6), "yaw": (5, 11)}
RUNS, SECONDS, RATE, SENSOR_PERIOD = 400, 60.0, 30.0, 6
LOST = range(int(20 * RATE), int(32 * RATE))
CAMERA = {"x": 0.03, "yaw": 0.01}  # deviations of the velocities, m/s and rad/s
WHEELS = {"x": 0.05, "yaw": 0.2}
SPEEDS = {"x": 0.5, "yaw": 0.3}


def process_noise(name: str) -> np.ndarray:
    content = yaml.safe_load((ROOT / "config" / name).read_text())
    return np.array(content["/**"]["ros__parameters"]["process_noise_covariance"]).reshape(15, 15)


def wandering(rng: np.random.Generator, sigma: float, memory: float) -> np.ndarray:
    """Velocities (runs, steps) with a deviation, that forget themselves in ``memory`` seconds."""
    keep = np.exp(-1.0 / (RATE * memory))
    velocity = np.zeros((RUNS, int(SECONDS * RATE)))
    for step in range(1, velocity.shape[1]):
        velocity[:, step] = keep * velocity[:, step - 1] + sigma * np.sqrt(1 - keep**2) * rng.normal(
            size=RUNS
        )
    return velocity


def filtered(velocity: np.ndarray, noise: np.ndarray, sigma: float, rng: np.random.Generator) -> tuple:
    """Errors of the position at the end (runs,) and the deviation that the filter gives for them."""
    step = 1.0 / RATE
    model, covariance = np.array([[1.0, step], [0.0, 1.0]]), np.diag([1e-9, 1e-9])
    state = np.zeros((2, RUNS))
    for index in range(1, velocity.shape[1]):
        state, covariance = model @ state, model @ covariance @ model.T + step * noise
        if index % SENSOR_PERIOD == 0:
            gain = covariance[:, 1] / (covariance[1, 1] + sigma**2)
            seen = velocity[:, index] + sigma * rng.normal(size=RUNS)
            state = state + gain[:, None] * (seen - state[1])
            covariance = covariance - np.outer(gain, covariance[1])
    return state[0] - velocity[:, 1:].sum(axis=1) * step, np.sqrt(covariance[0, 0])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("axis", "sigma", "sensor"), [("x", 0.5, 0.03), ("yaw", 0.3, 0.01)])
def test_errors_after_a_minute_are_as_large_as_the_filter_says(name, axis, sigma, sensor):
    rng = np.random.default_rng(3)
    position, speed = AXES[axis]
    noise = process_noise(name)[np.ix_((position, speed), (position, speed))]
    errors, deviation = filtered(wandering(rng, sigma, 1.0), noise, sensor, rng)
    assert 0.5 < np.mean((errors / deviation) ** 2) < 2.0


@pytest.mark.parametrize("name", FILES)
def test_noise_is_a_covariance_and_yaw_stays_known(name):
    noise = process_noise(name)
    assert np.array_equal(noise, np.diag(np.diag(noise)))
    assert np.diag(noise).min() > 0.0
    rng = np.random.default_rng(4)
    _, deviation = filtered(np.zeros((RUNS, int(SECONDS * RATE))), noise[5:12:6, 5:12:6], 0.004, rng)
    assert np.degrees(deviation) < 15.0


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

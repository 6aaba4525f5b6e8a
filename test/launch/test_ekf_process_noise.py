"""The filter's deviations are those of its errors: its own model, state and noise, simulated for a minute."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from launch_standins import ROOT

FILES = ("ekf_metric.yaml", "ekf_rotation_only.yaml")
# Position and velocity of one axis in robot_localization's state of 15.
AXES = {"x": (0, 6), "yaw": (5, 11)}
RUNS, SECONDS, RATE, SENSOR_PERIOD = 400, 60.0, 30.0, 6


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

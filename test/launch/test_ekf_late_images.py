"""history_length and the stamp of ~/twist in a simulation of ekf_node: late images, a robot on a plane.

State: x, y, yaw, forward speed, yaw rate. As robot_localization does, the filter returns to the state before
a late measurement as long as it remembers one, and applies it to the oldest state it remembers otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import yaml
from launch_standins import ROOT

FILES = ("ekf_metric.yaml", "ekf_rotation_only.yaml")
STEP, SECONDS, RATE = 0.005, 20.0, 30.0
SIGMAS = np.array([0.03, 0.01])  # m/s and rad/s
SEEDS = range(5)
FUSED = np.eye(5)[3:]


class Measurement(NamedTuple):
    """Speed and yaw rate, and when they were measured."""

    stamp: float
    value: np.ndarray


class State(NamedTuple):
    """The filter at a time."""

    stamp: float
    mean: np.ndarray
    covariance: np.ndarray


def parameters(name: str) -> dict:
    content: dict = yaml.safe_load((ROOT / "config" / name).read_text())["/**"]["ros__parameters"]
    return content


class Filter:
    """ekf_node with smooth_lagged_data."""

    def __init__(self, history: float) -> None:
        noise = np.diag(np.reshape(parameters("ekf_metric.yaml")["process_noise_covariance"], (15, 15)))
        self.noise = np.diag(noise[[0, 1, 5, 6, 11]])
        self.history = history
        self.state = State(0.0, np.zeros(5), 1e-9 * np.eye(5))
        self.states, self.measurements = [self.state], list[Measurement]()

    def predicted(self, stamp: float) -> State:
        (x, y, yaw, v, w), seconds = self.state.mean, stamp - self.state.stamp
        way = v * seconds
        mean = np.array([x + way * np.cos(yaw), y + way * np.sin(yaw), yaw + w * seconds, v, w])
        model = np.eye(5)
        model[:2, 2] = way * np.array([-np.sin(yaw), np.cos(yaw)])
        model[:2, 3] = seconds * np.array([np.cos(yaw), np.sin(yaw)])
        model[2, 4] = seconds
        return State(stamp, mean, model @ self.state.covariance @ model.T + seconds * self.noise)

    def back_to(self, stamp: float) -> list[Measurement]:
        """Restores the last state before a stamp, or the oldest; returns the measurements after it."""
        while self.states and self.states[-1].stamp > stamp:
            self.state = self.states.pop()
        if self.states:
            self.state = self.states[-1]
        later = [kept for kept in self.measurements if kept.stamp > self.state.stamp]
        self.measurements = [kept for kept in self.measurements if kept.stamp <= self.state.stamp]
        return later

    def update(self, now: float, arrived: list[Measurement]) -> None:
        queue = sorted(arrived, key=lambda measurement: measurement.stamp)
        if not queue:
            self.state = self.predicted(now)
        while queue:
            if queue[0].stamp < self.state.stamp:
                again = self.back_to(queue[0].stamp)
                queue = sorted([*queue, *again], key=lambda measurement: measurement.stamp)
            measurement = queue.pop(0)
            state = self.predicted(max(measurement.stamp, self.state.stamp))
            innovation = FUSED @ state.covariance @ FUSED.T + np.diag(SIGMAS**2)
            gain = state.covariance @ FUSED.T @ np.linalg.inv(innovation)
            mean = state.mean + gain @ (measurement.value - FUSED @ state.mean)
            self.state = State(state.stamp, mean, (np.eye(5) - gain @ FUSED) @ state.covariance)
            self.states.append(self.state)
            self.measurements.append(measurement)
        oldest = self.state.stamp - self.history
        self.states = [state for state in self.states if state.stamp >= oldest]
        self.measurements = [kept for kept in self.measurements if kept.stamp >= oldest]


def errors(period: tuple, delay: tuple, history: float, share: float, seed: int) -> tuple[float, float]:
    """Root mean square errors of the last 5 s: position (m) and yaw (rad).

    Args:
        period: range of the times between images, seconds; the camera measures the mean velocity between two.
        delay: range of the time from an image to its twist, seconds.
        history: of the filter, seconds.
        share: of the time between two images by which the twist's stamp lies before the second.
        seed: of everything drawn.
    """
    rng, count = np.random.default_rng(seed), int(SECONDS / STEP)
    keep = np.exp(-STEP)  # velocities forget themselves in a second
    velocity = np.zeros((count, 2))
    for index in range(1, count):
        drawn = np.sqrt(1.0 - keep**2) * np.array([0.5, 0.3]) * rng.normal(size=2)
        velocity[index] = keep * velocity[index - 1] + drawn
    velocity[:, 0] += 0.5
    stamps = STEP * np.arange(count + 1)
    travelled = np.concatenate([np.zeros((1, 2)), STEP * np.cumsum(velocity, axis=0)])
    yaw = travelled[:-1, 1:]
    place = np.cumsum(STEP * velocity[:, :1] * np.hstack([np.cos(yaw), np.sin(yaw)]), axis=0)
    place = np.concatenate([np.zeros((1, 2)), place])

    def at(values: np.ndarray, stamp: float) -> np.ndarray:
        return np.array([np.interp(stamp, stamps, column) for column in values.T])

    events, image, free = list[tuple[float, Measurement]](), 0.0, 0.0
    while (after := image + rng.uniform(*period)) < SECONDS:
        mean = (at(travelled, after) - at(travelled, image)) / (after - image)
        free = max(free, after + rng.uniform(*delay))  # twists come in their order
        seen = Measurement(after - share * (after - image), mean + SIGMAS * rng.normal(size=2))
        events.append((free, seen))
        image = after
    running, found = Filter(history), []
    for now in np.arange(1.0 / RATE, SECONDS, 1.0 / RATE):
        running.update(now, [seen for arrival, seen in events if now - 1.0 / RATE < arrival <= now])
        stamp, mean = running.state.stamp, running.state.mean
        found.append([*(mean[:2] - at(place, stamp)), mean[2] - at(travelled, stamp)[1]])
    last = np.array(found)[-int(5 * RATE) :]
    return float(np.sqrt(np.mean(np.sum(last[:, :2] ** 2, axis=1)))), float(np.sqrt(np.mean(last[:, 2] ** 2)))


def mean_errors(period: tuple, delay: tuple, history: float, share: float = 0.5) -> np.ndarray:
    return np.mean([errors(period, delay, history, share, seed) for seed in SEEDS], axis=0)


@pytest.mark.parametrize("name", FILES)
def test_the_history_is_longer_than_images_are_late_on_a_slow_machine(name: str) -> None:
    history = parameters(name)["history_length"]
    late = mean_errors((0.2, 0.2), (0.8, 1.6), history)
    np.testing.assert_allclose(late, mean_errors((0.2, 0.2), (0.8, 1.6), 10.0))
    short = mean_errors((0.2, 0.2), (0.8, 1.6), 1.0)
    print(f"position: {late[0]:.2f} m with a history of {history} s, {short[0]:.2f} m with 1 s")
    assert late[0] < 0.7 * short[0]


def test_twists_stamped_in_the_middle_of_their_interval_turn_the_filter_less() -> None:
    middle, end = (mean_errors((0.05, 0.4), (0.1, 0.2), 3.0, share) for share in (0.5, 0.0))
    print(f"yaw: {middle[1]:.3f} rad stamped in the middle, {end[1]:.3f} rad at the end")
    assert middle[1] < 0.8 * end[1]

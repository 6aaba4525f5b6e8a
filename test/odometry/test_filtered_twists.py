"""A filter that takes the twist of every image for an independent measurement stays consistent for a minute.

The filter is robot_localization's ekf_node with the process noise of config/ekf_metric.yaml; the twists are
those of the odometry on a rendered flight, with metric scale from depth images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from odometry_scenes import INTRINSICS, depths, frame, pose

from iup_pose_ros.estimators.registry import create_estimator
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose
from iup_pose_ros.odometry import MetricSensors, OdometryConfig, OdometryUpdate, VisualOdometry
from iup_pose_ros.types import DepthImage

pytestmark = pytest.mark.slow
CONFIG = Path(__file__).resolve().parents[2] / "config" / "ekf_metric.yaml"
SECONDS, RATE = 62.0, 10.0
# Amplitudes and angular velocities of the path: metres and radians.
SIZES = np.array([[0.5, 0.25, 0.6, 0.06, 0.06, 0.05], [0.3, 0.15, 0.3, 0.04, 0.05, 0.03]])
TURNS = np.array([[0.9, 1.3, 0.7, 1.1, 0.8, 1.4], [2.3, 1.9, 1.7, 2.1, 2.6, 1.5]])
PARTS = {"position": slice(0, 3), "orientation": slice(3, 6), "velocity": slice(6, 9), "turn": slice(9, 12)}


def path(time: float) -> Pose:
    """Pose of the camera before the walls, to and fro at about 0.5 m/s."""
    x, y, z, *turn = np.sum(SIZES * np.sin(TURNS * time), axis=0)
    return pose(x, y, z - 0.5, turn)


class DepthCamera:
    """Noise of 1 % of the squared distance per metre, and 20 % holes."""

    def at(self, stamp: float) -> DepthImage:
        rng, true = np.random.default_rng(round(stamp * RATE)), depths(path(stamp))
        noisy = true + 0.01 * true**2 * rng.normal(size=true.shape)
        noisy[rng.uniform(size=true.shape) < 0.2] = np.nan
        return DepthImage(noisy.astype(np.float32), INTRINSICS)


class Filter:
    """State: position, orientation, velocity and angular velocity in the base frame; (12, 12) covariance."""

    def __init__(self, start: Pose, stamp: float) -> None:
        noise = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]["process_noise_covariance"]
        self.noise = np.reshape(noise, (15, 15))[:12, :12]
        self.pose, self.velocity, self.stamp = start, np.zeros(6), stamp
        self.covariance = np.diag(np.repeat([1e-9, 1.0], 6))

    def predict(self, stamp: float) -> None:
        """Move on with the velocity; as ekf_node does, in steps of at most a thirtieth of a second."""
        while (seconds := min(stamp - self.stamp, 1.0 / 30.0)) > 1e-9:
            rotation = self.pose.rotation
            step = rotation @ self.velocity[:3] * seconds
            model = np.eye(12)
            model[:3, 3:6] = -so3.hat(step)
            model[:3, 6:9] = model[3:6, 9:] = rotation * seconds
            turned = rotation @ so3.exp(self.velocity[3:] * seconds)
            self.pose = Pose(turned, self.pose.translation + step)
            self.covariance = model @ self.covariance @ model.T + seconds * self.noise
            self.stamp += seconds

    def fuse(self, velocity: np.ndarray, covariance: np.ndarray) -> None:
        gain = self.covariance[:, 6:] @ np.linalg.inv(self.covariance[6:, 6:] + covariance)
        change = gain @ (velocity - self.velocity)
        moved = self.pose.translation + change[:3]
        self.pose = Pose(so3.exp(change[3:6]) @ self.pose.rotation, moved)
        self.velocity = self.velocity + change[6:]
        self.covariance = self.covariance - gain @ self.covariance[6:]


@pytest.fixture(scope="module")
def twists() -> list[OdometryUpdate]:
    """The updates with a twist of a flight of a minute."""
    config, sensors = OdometryConfig(scale_source="depth"), MetricSensors(depth=DepthCamera())
    odometry = VisualOdometry(create_estimator("epipolar_klt"), config, sensors=sensors)
    stamps = np.arange(0.0, SECONDS, 1.0 / RATE)
    updates = [odometry.process(frame(stamp, path(stamp), noise=4.0)) for stamp in stamps]
    found = [update for update in updates if update.twist is not None]
    assert found[-1].stamp - found[0].stamp > 60.0
    assert len(found) > 0.95 * len(stamps)
    assert sum(1 for update in found if update.edge is None) > 0.5 * len(found)
    return found


def nees(twists: list[OdometryUpdate]) -> np.ndarray:
    """NEES per degree of freedom (images, 4 parts) of a filter that starts with the first twist."""
    start = twists[0].stamp - twists[0].twist.interval
    running = Filter(path(start), start)
    found = []
    for update in twists:
        twist, truth = update.twist, path(update.stamp)
        running.predict(update.stamp - 0.5 * twist.interval)
        running.fuse(np.concatenate([twist.linear, twist.angular]), twist.covariance)
        step = path(update.stamp - twist.interval).inverse() @ truth
        half = so3.exp(-0.5 * so3.log(step.rotation))
        mean = np.concatenate([half @ step.translation, so3.log(step.rotation)]) / twist.interval
        wrong_velocity, velocities = mean - running.velocity, running.covariance[6:, 6:]
        running.predict(update.stamp)
        turn = so3.log(truth.rotation @ running.pose.rotation.T)
        wrong = np.concatenate([truth.translation - running.pose.translation, turn, wrong_velocity])
        covariance = running.covariance.copy()
        covariance[6:, 6:] = velocities
        found.append(
            [wrong[part] @ np.linalg.solve(covariance[part, part], wrong[part]) for part in PARTS.values()]
        )
    return np.array(found) / 3.0


def test_filter_is_consistent_over_a_minute(twists):
    mean = nees(twists).mean(axis=0)
    print("NEES per degree of freedom:", dict(zip(PARTS, mean.round(2), strict=True)))
    assert np.all(mean < 2.0)
    assert np.all(mean[2:] > 0.05), "the twists' covariances are far too large"


def test_filter_that_starts_anew_every_five_seconds_is_consistent(twists):
    size = round(5.0 * RATE)
    ends = np.array([nees(twists[first : first + size])[-1] for first in range(0, len(twists) - size, size)])
    print("NEES per degree of freedom:", dict(zip(PARTS, ends.mean(axis=0).round(2), strict=True)))
    assert len(ends) >= 11
    assert np.all(ends.mean(axis=0) < 2.0)

"""Pose, covariance, saved file and path are right after 100,000 keyframes."""

from __future__ import annotations

import os

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message

from iup_pose_ros.bags.trajectory_io import read_tum
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, PoseWithCovariance
from iup_pose_ros.node.message_conversion import pose_with_covariance, stamped_pose
from iup_pose_ros.node.trajectory_log import TrajectoryLog
from iup_pose_ros.odometry.integrator import Integrator

KEYFRAMES = 100_000
# Of the integrator; `make soak` sets SOAK_HOURS and integrates them all.
STEPS = KEYFRAMES if os.environ.get("SOAK_HOURS") else 3_000
PERIOD = 200_000_000
START = 1_700_000_000_000_000_000
# A circle of 100 keyframes: its centre is one metre to the left, and every round ends where it began.
TURN = 2.0 * np.pi / 100.0
STEP = Pose(so3.exp(np.array([0.0, 0.0, TURN])), np.array([np.sin(TURN), 1.0 - np.cos(TURN), 0.0]))
COVARIANCE = np.diag([1e-6, 1e-6, 1e-6, 1e-10, 1e-10, 1e-10])


@pytest.fixture(scope="module")
def integrator():
    """The integrator after all steps."""
    running = Integrator()
    step = PoseWithCovariance(STEP, COVARIANCE)
    for index in range(STEPS):
        running.advance(step, 0.2 * index, 0.2 * (index + 1))
    return running


@pytest.fixture(scope="module")
def circle():
    """The poses of a round."""
    poses = [Pose.identity()]
    for _ in range(99):
        poses.append(poses[-1] @ STEP)
    return poses


@pytest.mark.slow
def test_the_pose_is_that_of_whole_rounds(integrator):
    pose = integrator.pose.pose
    np.testing.assert_allclose(pose.matrix, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)


@pytest.mark.slow
def test_the_covariance_is_that_of_independent_steps(integrator):
    message = pose_with_covariance(integrator.pose)  # refuses what is not positive definite
    sums = np.diag(np.reshape(message.covariance, (6, 6))) / STEPS
    # What the errors of the heading add to the position, at two metres at most, is small.
    np.testing.assert_allclose(sums, np.diag(COVARIANCE), rtol=1e-3)


@pytest.mark.slow
def test_all_poses_are_saved(circle, tmp_path):
    log = TrajectoryLog()
    for index in range(KEYFRAMES):
        log.add(START + index * PERIOD, circle[index % 100])
    saved = log.save(str(tmp_path), "long.tum", "base in odom")
    trajectory = read_tum(saved.path)
    assert len(trajectory.stamps) == saved.poses == KEYFRAMES
    np.testing.assert_allclose(trajectory.positions[-1], circle[-1].translation, atol=1e-8)


@pytest.mark.slow
def test_the_longest_path_is_sent_and_received(circle):
    poses = [stamped_pose(pose, Time(sec=1), "odom") for pose in circle] * (KEYFRAMES // 100)
    received = deserialize_message(serialize_message(Path(header=poses[-1].header, poses=poses)), Path)
    assert len(received.poses) == KEYFRAMES
    assert received.poses[-1] == poses[-1]

"""What must hold of every estimator: honest deviations, honest loss, and a pose that never jumps.

One flight per estimator past a wall with a noisy camera: good images, black ones, good ones again, and then a
recording three times over. The wall is rendered, so the truth is exact: the camera moves along its x axis.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from moving_texture import view
from node_bench import BLACK, OUTPUTS, PERIOD, START, camera_info, image_message, stamp_of

from iup_pose_ros.estimators.registry import estimator_names
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.pose import Pose, pose_error
from iup_pose_ros.weights import SHIPPED_WEIGHTS

ESTIMATORS = ("epipolar_klt", "hybrid", "iup_pose")
NETWORK = ("hybrid", "iup_pose")
STEP = 0.08
GOOD, DARK, AGAIN, ROUND, ROUNDS = 50, 8, 10, 22, 3
RECOVERY = 5


class Flight(NamedTuple):
    """What a node said about the parts of a flight: messages by topic, tracking states of each part."""

    name: str
    outputs: dict
    good: list
    dark: list
    again: list
    rounds: list
    rounds_begin: dict


def noisy_view(index):
    """The camera's image; noise of two grey levels."""
    noise = 2.0 * np.random.default_rng(index).normal(size=(240, 320, 1))
    return np.clip(view(STEP * index) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=ESTIMATORS)
def flight(request, bench, start_module_node):
    name = request.param
    if name not in estimator_names():
        pytest.skip(f"estimator {name} is not registered")
    if name in NETWORK and not SHIPPED_WEIGHTS.is_file():
        pytest.skip(f"estimator {name} needs weights, and there is no {SHIPPED_WEIGHTS.name}")
    bench.clear()
    node = start_module_node(
        parameters={
            "estimator": name,
            "assume_identity_mount": True,
            "device": "cpu",
            "keyframe_interval": 0.1,
        }
    )
    node.wait_for_log("configured with", 60.0)
    bench.wait_for_node()

    def show(indices, pixels=None, start=START):
        return [
            bench.show(
                image_message(noisy_view(index) if pixels is None else pixels, start + index * PERIOD),
                camera_info(start + index * PERIOD),
            )
            for index in indices
        ]

    good = show(range(GOOD))
    dark = show(range(GOOD, GOOD + DARK), BLACK)
    again = show(range(GOOD + DARK, GOOD + DARK + AGAIN))
    rounds_begin = {topic: len(bench.received(topic)) for topic in OUTPUTS}
    # The recording is older than the last images, so that each round sets the clock back.
    rounds = [show(range(ROUND), start=START - 3600 * 10**9) for _ in range(ROUNDS)]
    outputs = {topic: bench.received(topic) for topic in OUTPUTS}
    assert node.stop() == 0, node.log
    return Flight(name, outputs, good, dark, again, rounds, rounds_begin)


def of_part(flight, topic, states):
    """Messages whose images are those of the states."""
    stamps = {stamp_of(state) for state in states}
    return [message for message in flight.outputs[f"/vo_node/{topic}"] if stamp_of(message) in stamps]


def pose_of(message):
    q, t = message.pose.orientation, message.pose.position
    return Pose.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))


def covariance_of(message):
    return np.reshape(message.covariance, (6, 6))


def position_of(odometry):
    return pose_of(odometry.pose).translation


def test_steps_lie_within_three_deviations(flight):
    edges = of_part(flight, "keyframe_edge", flight.good)
    rotation, direction = [], []
    for edge in edges:
        error = so3.log(pose_of(edge.pose).rotation)
        rotation.append(error @ np.linalg.solve(covariance_of(edge.pose)[3:, 3:], error))
        step = pose_of(edge.pose).translation
        length = np.linalg.norm(step)
        angle = np.arccos(np.clip(step[0] / length, -1.0, 1.0)) if length > 0.0 else 0.0
        direction.append(angle / edge.sigma_direction)
    inside = [np.mean(np.array(rotation) <= 9.0), np.mean(np.array(direction) <= 3.0)]
    print(
        f"{flight.name}: {len(edges)} steps; in 3 sigma: rotation {inside[0]:.2f}, direction {inside[1]:.2f}"
    )
    assert len(edges) >= 16
    assert min(inside) >= 0.95


def test_good_images_are_tracked(flight):
    measured = [state.state for state in flight.good[20:]]
    assert set(measured) == {1}


def test_pose_becomes_ever_less_certain_while_moving(flight):
    keyframes = {stamp_of(edge) for edge in of_part(flight, "keyframe_edge", flight.good)}
    odometry = [
        message for message in of_part(flight, "odometry", flight.good) if stamp_of(message) in keyframes
    ]
    for block in (slice(0, 3), slice(3, 6)):
        traces = [np.trace(covariance_of(message.pose)[block, block]) for message in odometry]
        assert np.all(np.diff(traces) > 0.0)


def test_covariances_are_finite_and_positive_definite(flight):
    for topic in ("relative_pose", "keyframe_edge", "odometry"):
        for message in flight.outputs[f"/vo_node/{topic}"]:
            covariance = covariance_of(message.pose)
            assert np.isfinite(covariance).all()
            assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_black_images_are_lost_and_nothing_is_published_from_them(flight):
    assert {state.state for state in flight.dark} == {3}
    assert all(state.reason for state in flight.dark)
    for topic in ("relative_pose", "keyframe_edge", "odometry", "twist"):
        assert of_part(flight, topic, flight.dark) == []
    dark = {stamp_of(state) for state in flight.dark}
    assert not [message for message in flight.outputs["/tf"] if stamp_of(message.transforms[0]) in dark]


def test_tracking_recovers_within_five_good_images(flight):
    states = [state.state for state in flight.again]
    assert 1 in states[:RECOVERY], [state.reason for state in flight.again]
    lost = [state for state in flight.again if state.state == 3]
    for topic in ("keyframe_edge", "odometry", "twist"):
        assert of_part(flight, topic, lost) == []


def test_pose_goes_on_after_the_loss_and_knows_the_gap(flight):
    before, after = of_part(flight, "odometry", flight.good), of_part(flight, "odometry", flight.again)
    edges = of_part(flight, "keyframe_edge", flight.again)
    assert after, [state.reason for state in flight.again]
    keyframe = next(message for message in after if stamp_of(message) == stamp_of(edges[0]))
    last, first = pose_of(before[-1].pose), pose_of(keyframe.pose)
    # The first keyframe after the gap is the last pose and the first step: what was not seen is not made up.
    np.testing.assert_allclose((last @ pose_of(edges[0].pose)).matrix, first.matrix, atol=1e-6)
    growth = np.trace(covariance_of(after[0].pose)[:3, :3]) - np.trace(covariance_of(before[-1].pose)[:3, :3])
    step = np.trace(covariance_of(before[-1].pose)[:3, :3]) - np.trace(covariance_of(before[-2].pose)[:3, :3])
    assert growth > step


def test_recording_that_is_played_three_times_keeps_the_pose_continuous(flight):
    odometry = flight.outputs["/vo_node/odometry"][flight.rounds_begin["/vo_node/odometry"] - 1 :]
    edges = flight.outputs["/vo_node/keyframe_edge"][flight.rounds_begin["/vo_node/keyframe_edge"] :]
    keyframe, chained, jumps = odometry[0], 0, 0
    for before, after in itertools.pairwise(odometry):
        if stamp_of(after) <= stamp_of(before):
            keyframe, jumps = before, jumps + 1  # a round goes on from the last pose
        if chained < len(edges) and stamp_of(after) == stamp_of(edges[chained]):
            moved = pose_of(keyframe.pose).inverse() @ pose_of(after.pose)
            error = pose_error(moved, pose_of(edges[chained].pose))
            # The window of keyframes refines the step by at most 99.7 % of its covariance.
            assert error @ np.linalg.solve(covariance_of(edges[chained].pose), error) < 20.0
            keyframe, chained = after, chained + 1
    assert chained == len(edges)
    assert jumps == ROUNDS
    for states in flight.rounds:
        assert states[-1].state == 1
        assert "the clock jumped back" in states[0].reason

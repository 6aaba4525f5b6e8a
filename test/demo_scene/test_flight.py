from __future__ import annotations

import numpy as np
import pytest

from iup_pose_ros.demo_scene.flight import fly
from iup_pose_ros.demo_scene.planes import PlaneScene
from iup_pose_ros.geometry import so3
from iup_pose_ros.geometry.trajectory import Trajectory

RATE = 20.0


@pytest.fixture(scope="module")
def flight() -> Trajectory:
    return fly(duration=18.0, rate=RATE)


def test_flight_has_the_given_duration_and_rate(flight: Trajectory) -> None:
    assert len(flight) == 360
    np.testing.assert_allclose(np.diff(flight.stamps), 1.0 / RATE)


def test_camera_rests_for_the_first_second_and_then_moves(flight: Trajectory) -> None:
    rest = flight.stamps <= 1.0
    assert np.ptp(flight.positions[rest], axis=0).max() < 1e-8
    assert np.ptp(flight.rotations[rest], axis=0).max() < 1e-8
    assert np.linalg.norm(flight.positions[60] - flight.positions[0]) > 0.2


def test_speeds_are_those_of_a_hand_held_camera(flight: Trajectory) -> None:
    speed = np.linalg.norm(np.diff(flight.positions, axis=0), axis=1) * RATE
    turning = np.degrees(so3.geodesic_angle(flight.rotations[:-1], flight.rotations[1:])) * RATE
    assert speed.max() < 1.0
    assert 0.5 < speed[60:300].mean() < 0.9
    assert turning.max() < 40.0
    assert turning.mean() > 10.0
    assert 9.0 < flight.length < 13.0


def test_flight_is_smooth(flight: Trajectory) -> None:
    acceleration = np.linalg.norm(np.diff(flight.positions, 2, axis=0), axis=1) * RATE**2
    turns = so3.log(np.swapaxes(flight.rotations[:-1], 1, 2) @ flight.rotations[1:]) * RATE
    angular_acceleration = np.degrees(np.linalg.norm(np.diff(turns, axis=0), axis=1)) * RATE
    assert acceleration.max() < 3.0
    assert angular_acceleration.max() < 200.0


def test_camera_keeps_a_distance_from_all_surfaces(flight: Trajectory, room: PlaneScene) -> None:
    offset = flight.positions[:, None] - room.centre.numpy()
    remainder = offset.copy()
    for half in (room.half_u.numpy(), room.half_v.numpy()):
        share = np.clip((offset * half).sum(-1) / (half * half).sum(-1), -1.0, 1.0)
        remainder -= share[..., None] * half
    # Steps are at most 5 cm long, so that this distance also excludes collisions between frames.
    assert np.linalg.norm(remainder, axis=-1).min() > 0.3


def test_camera_stays_upright(flight: Trajectory) -> None:
    down_in_world = flight.rotations[:, :, 1]
    assert (down_in_world[:, 2] < -0.95).all()


def test_seed_changes_only_the_shake() -> None:
    first, same, other = fly(6.0, seed=1), fly(6.0, seed=1), fly(6.0, seed=2)
    np.testing.assert_array_equal(first.positions, same.positions)
    difference = np.linalg.norm(first.positions - other.positions, axis=1)
    assert 0.001 < difference.max() < 0.04

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.geometry import so3
from iup_pose_ros.training.synthetic.camera_motion import REGIMES, Motion, Placement, placed
from iup_pose_ros.training.synthetic.view_config import ViewConfig

DEPTH = 5.0
FIRST = np.array([1.0, 2.0, 1.5, 0.7])


def draw(name: str, count: int = 200) -> list[tuple[Motion, np.ndarray, np.ndarray]]:
    """Draw the motion, the first pose and another pose of many clusters."""
    rng = np.random.default_rng(0)
    drawn = []
    for i in range(count):
        regime = REGIMES[name]
        motion = Motion.draw(regime, np.radians(rng.uniform(*regime.pitch)), DEPTH, rng)
        first = placed(FIRST, motion, Placement(np.zeros(3), np.zeros(3)), 0.05)
        drawn.append((motion, first, placed(FIRST, motion, motion.place(1 + i % 7, 1.0, rng), 0.05)))
    return drawn


def relative(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return T_0_1 (4, 4), the pose of the second camera in the frame of the first."""
    return np.linalg.inv(first) @ second


def angles(name: str) -> np.ndarray:
    turns = [relative(first, second)[:3, :3] for _, first, second in draw(name)]
    return np.degrees([np.linalg.norm(so3.log(turn)) for turn in turns])


def distances(name: str) -> np.ndarray:
    return np.array([np.linalg.norm(second[:3, 3] - first[:3, 3]) for _, first, second in draw(name)])


def test_poses_are_rigid_with_the_given_heading_and_a_level_horizon():
    motion = Motion(REGIMES["still"], DEPTH, 0.0, 0.0, 0.3, 0.0)
    T_world_camera = placed(FIRST, motion, Placement(np.zeros(3), np.zeros(3)), 0.0)
    rotation = T_world_camera[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    expected = [np.cos(0.3) * np.cos(0.7), np.cos(0.3) * np.sin(0.7), np.sin(0.3)]
    np.testing.assert_allclose(rotation[:, 2], expected, atol=1e-12)
    assert rotation[2, 0] == pytest.approx(0.0, abs=1e-12)
    assert rotation[2, 1] < 0.0


def test_stationary_cameras_have_equal_poses():
    assert all(np.array_equal(first, second) for _, first, second in draw("still"))


def test_rotation_has_no_translation():
    assert (distances("rotation") == 0.0).all()
    assert 5.0 < np.median(angles("rotation")) < 30.0


def test_driving_goes_straight_ahead_of_the_vehicle():
    for motion, first, second in draw("driving"):
        heading = FIRST[3] + motion.mount
        path = second[:3, 3] - first[:3, 3]
        ahead = path @ np.array([np.cos(heading), np.sin(heading), 0.0])
        assert ahead > 0.9 * np.linalg.norm(path)
        assert abs(path[2]) < 0.2 * np.linalg.norm(path)
    mounts = [motion.mount for motion, _, _ in draw("driving")]
    assert 0.4 < np.mean(np.isclose(mounts, 0.0)) < 0.75


def test_driving_turns_with_the_road():
    motion = Motion(REGIMES["driving"], DEPTH, 1.0, np.radians(5.0), 0.0, 0.0)
    placement = motion.place(6, 1.0, np.random.default_rng(0))
    assert placement.turn[0] == pytest.approx(np.radians(30.0), abs=0.05)
    assert placement.offset[0] > 0.5  # after a turn to the right, the position is to the right


def test_hand_held_and_drone_motions_are_proportional_to_the_depth():
    for name, maximum in (("hand_held", 0.3), ("drone", 0.4)):
        share = distances(name) / DEPTH
        assert 0.02 < np.median(share) < maximum
        assert np.quantile(share, 0.9) < 2.0 * maximum
    assert np.median(angles("hand_held")) < 20.0


def test_wide_baseline_orbits_the_point_that_the_first_camera_looks_at():
    for _, first, second in draw("wide"):
        target = np.array([0.0, 0.0, DEPTH, 1.0])
        seen = (np.linalg.inv(second) @ first @ target)[:3]
        assert np.degrees(np.arccos(seen[2] / np.linalg.norm(seen))) < 30.0
    assert np.quantile(angles("wide"), 0.9) > 25.0
    assert np.median(distances("wide")) > np.median(distances("hand_held"))


def test_a_smaller_extent_reduces_the_distance_to_the_first_view():
    for name in ("hand_held", "driving", "wide"):
        motion = Motion.draw(REGIMES[name], 0.0, DEPTH, np.random.default_rng(1))
        full, near = (motion.place(3, extent, np.random.default_rng(2)) for extent in (1.0, 0.01))
        assert np.linalg.norm(near.offset) < 0.1 * np.linalg.norm(full.offset) + 0.1


def test_invalid_settings_are_rejected():
    with pytest.raises(
        ConfigurationError, match="path 'spiral' does not exist; accepted: around, along, orbit"
    ):
        dataclasses.replace(REGIMES["wide"], path="spiral")
    with pytest.raises(ConfigurationError, match="shares"):
        ViewConfig(regimes={"wide": dataclasses.replace(REGIMES["wide"], share=0.0)})
    with pytest.raises(ConfigurationError, match="cluster of 1 views"):
        ViewConfig(views=1)

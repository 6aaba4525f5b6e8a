"""Trajectories, association and alignment, compared with evo and with known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.geometry import trajectory as ev
from iup_pose_ros.geometry.pose import Pose

SEEDS = st.integers(0, 2**32 - 1)


def random_trajectory(seed: int, count: int = 40) -> ev.Trajectory:
    """Return a random walk with random orientations."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(size=(count, 3)), axis=0)
    return ev.Trajectory(np.linspace(0.0, 4.0, count), Rotation.random(count, rng=rng).as_matrix(), positions)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.01, 100.0))
def test_alignment_recovers_a_similarity_exactly(seed: int, scale: float) -> None:
    reference = random_trajectory(seed)
    rng = np.random.default_rng(seed + 1)
    world = Pose(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3))
    moved = ev.Alignment(scale, world.rotation, world.translation).apply(reference)
    found = ev.align(reference.positions, moved.positions, with_scale=True)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, world.rotation, atol=1e-9)
    np.testing.assert_allclose(found.apply(reference).positions, moved.positions, atol=1e-8 * scale)


def test_association_agrees_with_evo() -> None:
    sync = pytest.importorskip("evo.core.sync", reason="evo, the oracle of this test, is not installed")
    rng = np.random.default_rng(7)
    # evo may associate two stamps with the same partner; the first list is too sparse for that.
    first = np.arange(30) * 0.3 + rng.uniform(0.0, 0.2, 30)
    second = np.sort(rng.uniform(0.0, 10.0, 400))
    ours = ev.associate(first, second, 0.02)
    np.testing.assert_array_equal(ours, sync.matching_time_indices(first, second, 0.02))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, sizes=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_association_is_one_to_one_increasing_and_within_the_limit(seed: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    first, second = (np.sort(rng.uniform(0.0, 3.0, size)) for size in sizes)
    left, right = ev.associate(first, second, 0.05)
    assert np.all(np.diff(left) > 0)
    assert np.all(np.diff(right) > 0)
    assert np.all(np.abs(first[left] - second[right]) <= 0.05)
    if len(first) and len(second):
        assert (len(left) > 0) == bool(np.min(np.abs(first[:, None] - second)) <= 0.05)


def test_straight_path_still_aligns_its_positions() -> None:
    source = np.linspace(0.0, 1.0, 10)[:, None] * np.array([0.0, 0.0, 1.0])
    target = 3.0 * source @ Rotation.from_euler("y", 70, degrees=True).as_matrix().T + 5.0
    found = ev.align(source, target, with_scale=True)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    aligned = found.scale * source @ found.rotation.T + found.translation
    np.testing.assert_allclose(aligned, target, atol=1e-12)


def test_scale_of_a_stationary_trajectory_cannot_be_aligned() -> None:
    with pytest.raises(DataError, match="does not move"):
        ev.align(np.ones((4, 3)), np.arange(12.0).reshape(4, 3), with_scale=True)


def test_stamps_that_do_not_increase_are_rejected_with_their_index() -> None:
    poses = [Pose.identity()] * 3
    with pytest.raises(DataError, match=r"pose 2 at 1\.0"):
        ev.Trajectory.from_poses([0.0, 1.0, 1.0], poses)


def test_path_length_is_the_sum_of_the_distances() -> None:
    trajectory = random_trajectory(8, count=5)
    steps = [np.linalg.norm(trajectory.positions[i + 1] - trajectory.positions[i]) for i in range(4)]
    assert trajectory.length == pytest.approx(sum(steps))

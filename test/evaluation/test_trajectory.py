"""Association, alignment and trajectory errors, against evo and against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from iup_pose_ros.errors import DataError
from iup_pose_ros.evaluation import trajectory as ev
from iup_pose_ros.geometry.pose import Pose

SEEDS = st.integers(0, 2**32 - 1)


def random_trajectory(seed: int, count: int = 40) -> ev.Trajectory:
    """A smooth random path with random orientations."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(size=(count, 3)), axis=0)
    return ev.Trajectory(np.linspace(0.0, 4.0, count), Rotation.random(count, rng=rng).as_matrix(), positions)


def disturbed(reference: ev.Trajectory, seed: int, scale: float = 0.4) -> ev.Trajectory:
    """The trajectory seen from another world frame, in another unit, with errors in every pose."""
    rng = np.random.default_rng(seed)
    world = Rotation.random(rng=rng).as_matrix()
    noise = Rotation.from_rotvec(rng.normal(size=(len(reference), 3)) * 0.03).as_matrix()
    positions = reference.positions + rng.normal(size=reference.positions.shape) * 0.05
    return ev.Trajectory(
        reference.stamps,
        world @ reference.rotations @ noise,
        scale * positions @ world.T + rng.normal(size=3),
    )


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


@pytest.mark.parametrize("with_scale", [True, False])
def test_absolute_error_agrees_with_evo(with_scale: bool) -> None:
    metrics = pytest.importorskip("evo.core.metrics", reason="evo, the oracle of this test, is not installed")
    reference = random_trajectory(3)
    estimate = disturbed(reference, 4, scale=0.4 if with_scale else 1.0)
    oracle_estimate, oracle_reference = to_evo(estimate), to_evo(reference)
    oracle_estimate.align(oracle_reference, correct_scale=with_scale)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((oracle_reference, oracle_estimate))
    aligned = ev.align(estimate.positions, reference.positions, with_scale).apply(estimate)
    errors = ev.position_errors(aligned, reference)
    np.testing.assert_allclose(errors, ape.error, atol=1e-9)
    assert ev.root_mean_square(errors) == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse))


def test_relative_rotation_error_agrees_with_evo() -> None:
    metrics = pytest.importorskip("evo.core.metrics", reason="evo, the oracle of this test, is not installed")
    reference = random_trajectory(5)
    estimate = disturbed(reference, 6)
    rpe = metrics.RPE(metrics.PoseRelation.rotation_angle_deg, delta=1, all_pairs=False)
    rpe.process_data((to_evo(reference), to_evo(estimate)))
    previous = np.arange(len(reference) - 1)
    errors = ev.relative_errors(
        ev.relative_poses(estimate, previous, previous + 1),
        ev.relative_poses(reference, previous, previous + 1),
    )
    np.testing.assert_allclose(errors.rotation_deg, rpe.error, atol=1e-6)


def test_association_agrees_with_evo() -> None:
    sync = pytest.importorskip("evo.core.sync", reason="evo, the oracle of this test, is not installed")
    rng = np.random.default_rng(7)
    # evo lets two stamps share a partner; here the first list is too sparse for that.
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


def test_directions_are_unfolded_and_ignore_length() -> None:
    forward = Pose(np.eye(3), np.array([0.0, 0.0, 2.0]))
    backward = Pose(np.eye(3), np.array([0.0, 0.0, -1.0]))
    sideways = Pose(np.eye(3), np.array([0.5, 0.0, 0.0]))
    still = Pose.identity()
    errors = ev.relative_errors([forward, sideways, forward, still], [backward, forward, forward, forward])
    np.testing.assert_allclose(errors.direction_deg, [180.0, 90.0, 0.0, np.nan], atol=1e-9)
    assert ev.root_mean_square(errors.direction_deg) == pytest.approx(np.sqrt((180.0**2 + 90.0**2) / 3))


def test_straight_path_still_aligns_its_positions() -> None:
    source = np.linspace(0.0, 1.0, 10)[:, None] * np.array([0.0, 0.0, 1.0])
    target = 3.0 * source @ Rotation.from_euler("y", 70, degrees=True).as_matrix().T + 5.0
    found = ev.align(source, target, with_scale=True)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    aligned = found.scale * source @ found.rotation.T + found.translation
    np.testing.assert_allclose(aligned, target, atol=1e-12)


def test_trajectory_that_stands_still_has_no_scale_to_align() -> None:
    with pytest.raises(DataError, match="does not move"):
        ev.align(np.ones((4, 3)), np.arange(12.0).reshape(4, 3), with_scale=True)


def test_stamps_that_do_not_increase_are_named() -> None:
    poses = [Pose.identity()] * 3
    with pytest.raises(DataError, match=r"pose 2 at 1\.0"):
        ev.Trajectory.from_poses([0.0, 1.0, 1.0], poses)


def test_path_length_is_the_sum_of_the_steps() -> None:
    trajectory = random_trajectory(8, count=5)
    steps = [np.linalg.norm(trajectory.positions[i + 1] - trajectory.positions[i]) for i in range(4)]
    assert trajectory.length == pytest.approx(sum(steps))


def to_evo(trajectory: ev.Trajectory):
    """The same trajectory as evo's type."""
    from evo.core.trajectory import PoseTrajectory3D

    quaternions = Rotation.from_matrix(trajectory.rotations).as_quat(scalar_first=True)
    return PoseTrajectory3D(trajectory.positions.copy(), quaternions, trajectory.stamps.copy())
